"""Drawn pictures: labels agree with the drawing and with the image processor, and the seed decides everything."""

from random import Random

import numpy as np
import pytest
from PIL import Image

from safer_training.checkpoint import CELL, image_processor
from safer_training.glyphs import BLANK, MAX_CELLS
from safer_training.render import Fonts, draw, final_size, font_files, scene, without_text

TEXT = "Steps to repair an old bicycle at home."


@pytest.mark.parametrize("fonts", ["easy", "seen", "framed", "unseen"])
@pytest.mark.parametrize("seed", range(12))
def test_cells_in_raster_order_read_as_the_text(seed: int, fonts: Fonts) -> None:
    picture = draw(TEXT, Random(seed), fonts)
    assert picture.cells.text() == picture.text
    assert " ".join(picture.text.split()).startswith(TEXT)


@pytest.mark.parametrize("seed", range(12))
def test_ink_lies_in_the_cell_that_is_labelled(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safer_training.render.listed", lambda text, rng: [text])
    monkeypatch.setattr("safer_training.render.SEEN_LAYOUTS", ("plain", "centred"))
    picture = draw("M", Random(seed))
    cells = picture.cells
    pixels = np.asarray(picture.image.resize((cells.width * CELL, cells.height * CELL)).convert("L"), dtype=float)
    middle = (cells.codes != BLANK).any(-1).nonzero().item()
    row, column = divmod(int(middle), cells.width)
    contrast = abs(pixels - np.median(pixels))
    inside = contrast[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
    assert inside.max() > 60


@pytest.mark.parametrize("seed", range(8))
def test_the_image_processor_makes_as_many_cells_as_there_are_labels(seed: int) -> None:
    rng = Random(seed)
    for picture in (draw(TEXT, rng), scene(rng)):
        _, rows, columns = image_processor()(images=[picture.image], return_tensors="pt")["image_grid_thw"][0].tolist()
        assert (picture.cells.height, picture.cells.width) == (rows // 2, columns // 2)
        assert len(picture.cells.codes) <= MAX_CELLS


@pytest.mark.parametrize(
    ("size", "final"),
    [((760, 760), (308, 308)), ((308, 308), (308, 308)), ((1000, 100), (980, 84)), ((40, 40), (112, 112))],
)
def test_final_size(size: tuple[int, int], final: tuple[int, int]) -> None:
    assert final_size(*size) == final


def test_the_same_seed_draws_the_same_picture() -> None:
    one, two = draw(TEXT, Random(3)), draw(TEXT, Random(3))
    assert one.image.tobytes() == two.image.tobytes()
    assert one.image.tobytes() != draw(TEXT, Random(4)).image.tobytes()


def test_fonts_kept_for_evaluation_are_not_drawn_with() -> None:
    assert font_files("framed") == font_files("seen")
    assert not {path for family in font_files("seen") for path in family} & {p for f in font_files("unseen") for p in f}


def test_without_any_font_installed_the_built_in_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safer_training.render.font_files", lambda fonts: ())
    assert draw(TEXT, Random(0)).cells.text().split()[:2] == ["Steps", "to"]


def test_a_picture_without_text_is_blank() -> None:
    cells = without_text(Image.new("RGB", (200, 100))).cells
    assert cells.text() == ""
    assert not cells.codes.any()
