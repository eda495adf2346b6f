"""What a merged vision token of a picture with text says: the characters whose centres lie in its cell.

A Qwen2.5-VL tower turns every 28 x 28 pixels into one token. Cells hold up to `SLOTS` characters from left to right; a fixed
table gives each (slot, character) a vector, and the vector of a cell is their sum. The tower is taught to produce these
sums (`letters`) and the language model to read them, apart from each other.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor

from safer_training.checkpoint import CELL, MAX_PIXELS, MIN_PIXELS

Measure = Callable[[str], float]

SLOTS = 4
SCALE = 0.05
"""Root mean square of a cell's vector: near that of a token embedding."""
MIN_CELLS, MAX_CELLS = MIN_PIXELS // CELL**2, MAX_PIXELS // CELL**2
CHARACTERS = "\0" + "".join(map(chr, range(32, 127)))
BLANK = 0
LARGE = 0.3
"""Share of pictures that are as large as the model takes them."""
_CODE = {character: code for code, character in enumerate(CHARACTERS)}
_NARROW, _WIDE = frozenset("iljtfrI.,:;'|!()[] "), frozenset("mwMW@%&")
_ALIKE = ("il1I|!j", "oO0Qce", "aes", "nmhru", "vwy", "bdhk", "gqpy", "B8S5", "Z2z", "tfr", ".,", "GC6", "uvn")


@dataclass(frozen=True)
class Glyph:
    """One drawn character and the centre of its advance box, in pixels of the picture that the tower sees."""

    character: str
    x: float
    y: float


@dataclass(frozen=True)
class Cells:
    """The characters of a picture: `codes` is a LongTensor [height * width, SLOTS] in raster order, blanks last."""

    height: int
    width: int
    codes: Tensor
    words: tuple[tuple[int, str], ...] = ()
    """Every word with the number of the cell that holds its last character."""

    def text(self) -> str:
        """Reads the cells row by row; a row of cells is a line."""
        rows = self.codes.view(self.height, -1).tolist()
        lines = ("".join(CHARACTERS[code] for code in row if code != BLANK).strip() for row in rows)
        return "\n".join(line for line in lines if line)


def place(glyphs: Iterable[Glyph], height: int, width: int) -> Cells:
    """Puts each glyph into the cell that holds its centre; what is outside or does not fit a full cell is lost."""
    held: dict[tuple[int, int], list[Glyph]] = {}
    for glyph in sorted(glyphs, key=lambda glyph: glyph.x):
        row, column = math.floor(glyph.y / CELL), math.floor(glyph.x / CELL)
        if 0 <= row < height and 0 <= column < width and glyph.character in _CODE:
            held.setdefault((row, column), []).append(glyph)
    codes = torch.full((height * width, SLOTS), BLANK, dtype=torch.long)
    for (row, column), inside in held.items():
        slots = _slots([glyph.x - column * CELL for glyph in inside[:SLOTS]])
        for slot, glyph in zip(slots, inside, strict=False):
            codes[row * width + column, slot] = _CODE[glyph.character]
    return Cells(height, width, codes, _words(codes, width))


def _words(codes: Tensor, width: int) -> tuple[tuple[int, str], ...]:
    """Read the words of cells row by row, each with the cell in which it ends."""
    words, word, last = [], "", 0
    for cell, slots in enumerate(codes.tolist()):
        characters = [CHARACTERS[code] for code in slots if code != BLANK]
        at_edge = cell % width == width - 1
        for character in [*characters, *([" "] if at_edge else [])]:
            if character != " ":
                word, last = word + character, cell
            elif word:
                words.append((last, word))
                word = ""
    return tuple(words)


def _slots(offsets: Sequence[float]) -> list[int]:
    """The slot under each centre, moved as little as keeps crowded characters apart and in order."""
    slots: list[int] = []
    for offset in offsets:
        slots.append(max(int(offset * SLOTS / CELL), slots[-1] + 1 if slots else 0))
    for place_from_right, index in enumerate(reversed(range(len(slots)))):
        slots[index] = min(slots[index], SLOTS - 1 - place_from_right)
    return slots


def glyph_table(hidden: int, scale: float = SCALE) -> Tensor:
    """The fixed vectors U [SLOTS, characters, hidden]: slots own equal shares of the dimensions, so they never mix.

    `scale` is the root mean square of a summed cell vector. Blank has a vector too: a norm layer would blow up a near zero.
    """
    share = hidden // SLOTS
    directions = torch.randn(SLOTS, len(CHARACTERS), share, generator=torch.Generator().manual_seed(28))
    directions = directions / directions.norm(dim=-1, keepdim=True) * (scale * share**0.5)
    table = torch.zeros(SLOTS, len(CHARACTERS), hidden)
    for slot in range(SLOTS):
        table[slot, :, slot * share : (slot + 1) * share] = directions[slot]
    return table


def embed(codes: Tensor, table: Tensor) -> Tensor:
    """The cell vectors [cells, hidden] of `codes` [cells, SLOTS]: the sum over k of U[k, c_k]."""
    return table[torch.arange(SLOTS, device=codes.device), codes].sum(dim=-2)


@dataclass(frozen=True)
class Block:
    """Rows of text set on a canvas of height x width cells; lengths in pixels, `top` is the middle of the first row."""

    rows: tuple[str, ...]
    height: int
    width: int
    advance: float
    leading: float
    left: float
    top: float


def fit(
    lines: Sequence[str],
    measure: Measure,
    rng: Random,
    advance: float,
    canvas: tuple[int, int] | None = None,
    height: float = 1.66,
) -> Block:
    """Sets `lines` at a mean `advance` on `canvas` (height, width in cells) or on one that hugs them.

    Text that does not fit is tried smaller, down to what can still be read, then cut. The row pitch stays above one
    cell, so that no cell holds parts of two rows. `measure` gives a length, and `height` the font size, in mean advances.
    """
    spacing = rng.uniform(0.0, 0.4) ** 2
    margin = rng.uniform(1.0, 26.0)
    room = rng.randint(6, 16) if canvas is None else canvas[1]
    while True:
        leading = max(28.8, advance * height * 0.93) * (1.0 + spacing)
        tallest = MAX_CELLS // room if canvas is None else canvas[0]
        rows = [row for line in lines for row in _wrap(line, (room * CELL - 2 * margin) / advance, measure)]
        widest = max(map(measure, rows)) * advance + 2 * margin
        if widest <= room * CELL and len(rows) * leading <= tallest * CELL:
            break
        if advance <= 8.6 and (canvas is not None or room >= 16):
            rows = rows[: int(tallest * CELL // leading)]
            break
        advance, spacing, margin = max(8.6, advance * 0.93), spacing * 0.9, max(2.0, margin * 0.9)
        room = min(16, room + 1) if canvas is None else room
    if canvas is None:
        room = max(4, min(room, math.ceil(widest / CELL) + rng.randint(0, 1)))
        tallest = math.ceil(len(rows) * leading / CELL) + rng.randint(0, 1)
        tallest = min(max(tallest, math.ceil(MIN_CELLS / room)), MAX_CELLS // room)
    spare = max(0.0, tallest * CELL - len(rows) * leading)
    top = rng.choice((min(spare, margin / 2), min(spare, margin / 2), spare / 2, rng.uniform(0.0, spare)))
    return Block(tuple(rows), tallest, room, advance, leading, margin, top + leading / 2)


def pseudo_picture(text: str, rng: Random, noise: float = 0.0, large: bool | None = None) -> Cells:
    """Simulates how a card with `text` falls into cells, without drawing it; `noise` is the share of misread characters."""
    measure: Measure = len if rng.random() < 0.5 else _proportional
    block = fit(listed(text, rng), measure, rng, rng.uniform(9.0, 24.0), random_canvas(rng, large))
    centred = rng.random() < 0.2
    placed, written = [], []
    for line, row in enumerate(block.rows):
        left = (block.width * CELL - measure(row) * block.advance) / 2 if centred else block.left
        for end, character in enumerate(row, start=1):
            x = left + block.advance * (measure(row[: end - 1]) + measure(row[:end])) / 2
            written.append(Glyph(character, x, block.top + line * block.leading))
            shown = _misread(character, rng) if rng.random() < noise else character
            if shown:
                placed.append(Glyph(shown, x, block.top + line * block.leading))
            if shown and rng.random() < noise / 2:  # near the border of two columns a character is often read in both
                placed.append(Glyph(shown, x + 3.5, block.top + line * block.leading))
    return replace(place(placed, block.height, block.width), words=place(written, block.height, block.width).words)


def listed(text: str, rng: Random) -> list[str]:
    """The text, and in some cards the numbers of a list that is left open."""
    return [text, *(f"{number}." for number in range(1, rng.randint(3, 5)))] if rng.random() < 0.35 else [text]


def random_canvas(rng: Random, large: bool | None = None) -> tuple[int, int] | None:
    """Some cards are large pictures scaled down to the pixel limit, with room to spare; others hug their text."""
    if large is None:
        large = rng.random() < LARGE
    return rng.choice(((11, 11), (11, 11), (10, 12), (12, 10), (9, 14), (14, 9), (8, 16))) if large else None


def _proportional(text: str) -> float:
    return sum(0.6 if c in _NARROW else 1.45 if c in _WIDE else 1.25 if c.isupper() else 1.05 for c in text)


def _wrap(text: str, room: float, measure: Measure) -> list[str]:
    rows: list[str] = []
    for word in text.split():
        if rows and measure(f"{rows[-1]} {word}") <= room:
            rows[-1] = f"{rows[-1]} {word}"
        else:
            rows.append(word)
    return rows


def _misread(character: str, rng: Random) -> str:
    """A lookalike, sometimes nothing, sometimes anything: the tower's usual mistakes."""
    chance = rng.random()
    alike = "".join(group for group in _ALIKE if character in group)
    if chance < 0.15:
        return ""
    return rng.choice(alike) if alike and chance < 0.75 else rng.choice(CHARACTERS[1:])
