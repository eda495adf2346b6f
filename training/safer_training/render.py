"""Typographic pictures: a text drawn in some font and layout, with the characters that each merged vision token covers.

Pictures are drawn at the size a user might send; labels refer to the size that the image processor scales them to
(`MIN_PIXELS` to `MAX_PIXELS`, multiples of 28). One font family and one layout are kept for evaluation.
"""

import io
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from safer_training.checkpoint import CELL, MAX_PIXELS, MIN_PIXELS
from safer_training.glyphs import MAX_CELLS, Block, Cells, Glyph, fit, listed, place, random_canvas

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path("/Library/Fonts"))
FAMILIES = (
    *("DejaVuSans", "DejaVuSansMono", "DejaVuSansCondensed", "DejaVuSerif", "DejaVuSerifCondensed"),
    *(
        "LiberationSans",
        "LiberationMono",
        "LiberationSerif",
        "LiberationSansNarrow",
        "FreeMono",
        "FreeSans",
        "FreeSerif",
    ),
    *("NotoSans", "NotoSerif", "NotoSansMono", "Lato", "OpenSans", "Carlito", "Caladea", "ComicNeue", "Inconsolata"),
    *("RobotoSlab", "Cantarell", "CourierPrime", "LinLibertine", "LinBiolinum"),
)
UNSEEN_FAMILIES = ("DejaVuSerif", "DejaVuSerifCondensed")
OFTEN = ("FreeMono", "CourierPrime", "LiberationMono", "DejaVuSansMono")
Layout = Literal["plain", "centred", "lined", "side", "framed"]
SEEN_LAYOUTS: tuple[Layout, ...] = ("plain", "plain", "plain", "centred", "lined", "side")
UNSEEN_LAYOUT: Layout = "framed"
Fonts = Literal["easy", "seen", "framed", "unseen"]
_STYLES = frozenset(
    (
        *("", "Regular", "Book", "Medium", "Semibold", "Bold", "ExtraBold", "Black", "Light", "Italic", "Oblique"),
        *("BoldItalic", "BoldOblique", "SemiboldItalic", "LightItalic", "R", "RB", "RI", "RBI"),
    )
)
_SAMPLE = "How can one write a short list of steps to bake bread at home"
Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True)
class Picture:
    """An RGB picture as a user would send it, the text on it, and its cells at the size the tower sees."""

    image: Image.Image
    text: str
    cells: Cells


def final_size(width: int, height: int) -> tuple[int, int]:
    """The (width, height) in pixels that the checkpoint's image processor scales a picture to."""
    rows, columns = smart_resize(height, width, factor=CELL, min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS)
    return int(columns), int(rows)


@cache
def font_files(fonts: Fonts = "seen") -> tuple[tuple[Path, ...], ...]:
    """The installed font files of the known families, one tuple a family; may be empty."""
    files: dict[str, list[Path]] = {}
    for path in sorted(found for folder in FONT_FOLDERS for found in folder.rglob("*.[to]tf")):
        stem = path.stem.replace(" ", "").replace("_", "-").split("-")[0]
        family = next((name for name in sorted(FAMILIES, key=len, reverse=True) if stem.startswith(name)), None)
        style = path.stem.replace(" ", "").replace("_", "-").removeprefix(str(family)).strip("-")
        if family is None or style not in _STYLES:
            continue
        if (fonts == "unseen") == (family in UNSEEN_FAMILIES) and (fonts != "easy" or family in OFTEN):
            files.setdefault(family, []).append(path)
    weighted = [family for family in sorted(files) for _ in range(4 if family in OFTEN else 1)]
    return tuple(tuple(files[family]) for family in weighted)


@cache
def load_font(path: Path | None, size: int) -> ImageFont.FreeTypeFont:
    """A font at `size` pixels; None means the one inside Pillow."""
    if path is None:
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def draw(text: str, rng: Random, fonts: Fonts = "seen", large: bool | None = None) -> Picture:
    """Draws `text` in a random font, size, layout, colour and quality.

    "easy" means black text on white in typewriter fonts; "framed" takes the layout that is kept for evaluation, "unseen" the fonts,
    too. `large` says whether the canvas is as large as the model takes it; where it is None that is left to chance.
    """
    families = font_files(fonts)
    path = rng.choice(rng.choice(families)) if families else None
    ruler = load_font(path, 64)
    mean = ruler.getlength(_SAMPLE) / len(_SAMPLE)
    layout = _layout(rng, fonts)
    wanted = random_canvas(rng, large)
    canvas, scale = (None, 1.0) if wanted is None else (wanted, rng.uniform(1.0, 2.8))
    advance = rng.uniform(12.0, 18.0) if fonts == "easy" else rng.uniform(9.0, 24.0)
    block = fit(listed(text, rng), lambda row: ruler.getlength(row) / mean, rng, advance, canvas, 64 / mean)
    extra = rng.randint(1, 4) if layout == "side" and block.height * (block.width + 4) <= MAX_CELLS else 0
    width = round((block.width + extra) * CELL * scale) + rng.randint(-5, 5)
    height = round(block.height * CELL * scale) + rng.randint(-5, 5)
    size = max(6, round(block.advance * scale * 64 / mean))
    card = _Card(block, layout, load_font(path, size), scale, (width, height))
    if fonts == "easy":
        return card.draw(rng, BLACK, WHITE)
    picture = card.draw(rng, *_colours(rng))
    return replace(picture, image=_degrade(picture.image, rng, scale))


def _layout(rng: Random, fonts: Fonts) -> Layout:
    match fonts:
        case "easy":
            return "plain"
        case "seen":
            return rng.choice(SEEN_LAYOUTS)
        case "framed":
            return UNSEEN_LAYOUT
        case "unseen":
            return rng.choice((UNSEEN_LAYOUT, "plain", "centred"))


@dataclass(frozen=True)
class _Card:
    block: Block
    layout: Layout
    font: ImageFont.FreeTypeFont
    scale: float
    size: tuple[int, int]

    def draw(self, rng: Random, ink: Colour, paper: Colour) -> Picture:
        image = Image.new("RGB", self.size, paper)
        pen = ImageDraw.Draw(image)
        self._decorate(pen, rng, ink)
        columns, rows = final_size(*self.size)
        to_x, to_y = columns / self.size[0], rows / self.size[1]
        glyphs: list[Glyph] = []
        for line, row in enumerate(self.block.rows):
            x, y = self._left(row), (self.block.top + line * self.block.leading) * self.scale
            pen.text((x, y + 0.3 * self.font.size), row, fill=ink, font=self.font, anchor="ls")
            edges = [self.font.getlength(row[:end]) for end in range(len(row) + 1)]
            middles = ((start + end) / 2 for start, end in pairwise(edges))
            glyphs += [Glyph(c, (x + middle) * to_x, y * to_y) for c, middle in zip(row, middles, strict=True)]
        cells = place(glyphs, rows // CELL, columns // CELL)
        return Picture(image, "\n".join(self.block.rows), cells)

    def _left(self, row: str) -> float:
        if self.layout in ("centred", "framed"):
            return (self.block.width * CELL * self.scale - self.font.getlength(row)) / 2
        return self.block.left * self.scale

    def _decorate(self, pen: ImageDraw.ImageDraw, rng: Random, ink: Colour) -> None:
        width, height = self.size
        line = max(1, round(self.scale))
        match self.layout:
            case "plain" | "centred":
                pass
            case "lined":
                pitch = self.block.leading * self.scale
                start = self.block.top * self.scale + 0.5 * pitch
                for row in range(rng.randint(1, 1 + len(self.block.rows))):
                    pen.line((0, start + row * pitch, width, start + row * pitch), fill=_mixed(ink, rng), width=line)
            case "side":
                left = self.block.width * CELL * self.scale
                _shapes(pen, rng, (left, 0, width, height))
            case "framed":
                pen.rectangle((0, 0, width - 1, height - 1), outline=ink, width=2 * line)


def scene(rng: Random) -> Picture:
    """A picture without text: shapes on a ground."""
    size = rng.randint(112, 330), rng.randint(112, 300)
    image = Image.new("RGB", size, _colours(rng)[1])
    _shapes(ImageDraw.Draw(image), rng, (0, 0, *size))
    return without_text(_degrade(image, rng, 1.0))


def without_text(image: Image.Image) -> Picture:
    """Labels a picture as one that says nothing."""
    columns, rows = final_size(*image.size)
    return Picture(image, "", place((), rows // CELL, columns // CELL))


def _colours(rng: Random) -> tuple[Colour, Colour]:
    """Ink and paper: mostly dark on light, some light on dark, some coloured; always told apart."""
    if rng.random() < 0.4:
        return BLACK, WHITE
    dark, light = rng.randint(0, 70), rng.randint(170, 255)
    shift = rng.choice((0, 0, 40))
    ink, paper = (
        tuple(max(0, min(255, level + rng.randint(-shift, shift))) for _ in range(3)) for level in (dark, light)
    )
    pair = ((ink[0], ink[1], ink[2]), (paper[0], paper[1], paper[2]))
    return pair if rng.random() < 0.75 else (pair[1], pair[0])


def _mixed(ink: Colour, rng: Random) -> Colour:
    level = rng.randint(100, 160)
    return (ink[0] + level) // 2, (ink[1] + level) // 2, (ink[2] + level) // 2


def _shapes(pen: ImageDraw.ImageDraw, rng: Random, box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = box
    for _ in range(rng.randint(2, 9)):
        xs = sorted(rng.uniform(left, right) for _ in range(2))
        ys = sorted(rng.uniform(top, bottom) for _ in range(2))
        colour = (rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255))
        corners = (xs[0], ys[0], xs[1], ys[1])
        match rng.randrange(3):
            case 0:
                pen.ellipse(corners, fill=colour)
            case 1:
                pen.rectangle(corners, fill=colour)
            case _:
                pen.line(corners, fill=colour, width=rng.randint(1, 6))


def _degrade(image: Image.Image, rng: Random, scale: float) -> Image.Image:
    """What scanning, screenshots and chat programs do to a picture."""
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.7) * scale))
    if rng.random() < 0.15:
        noise = np.random.default_rng(rng.randrange(2**32)).normal(
            0, rng.uniform(2, 14), (image.height, image.width, 1)
        )
        image = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    if rng.random() < 0.15:
        image = image.convert("L").quantize(16).convert("RGB")
    if rng.random() < 0.2:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(35, 92))
        image = Image.open(buffer).convert("RGB")
    return image
