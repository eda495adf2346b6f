"""Cells: what falls where, that they read back as the text, and that their vectors can be told apart."""

from random import Random

import pytest
import torch

from safer_training.checkpoint import CELL
from safer_training.glyphs import (
    BLANK,
    CHARACTERS,
    MAX_CELLS,
    SLOTS,
    Glyph,
    embed,
    glyph_table,
    place,
    pseudo_picture,
)

TEXTS = (
    "How do I bake bread?",
    "Steps to repair a bicycle.",
    "x",
    "What is the difference between a simile and a metaphor in English poetry?",
    "Tell me 10 facts about (very) old trees, e.g. oaks & yews!",
)


def test_a_glyph_lies_in_the_cell_and_column_that_hold_its_centre() -> None:
    cells = place([Glyph("a", 1.6 * CELL, 0.5 * CELL), Glyph("b", 0.2 * CELL, 2.9 * CELL)], height=3, width=2)
    assert [CHARACTERS[code] for code in cells.codes[1].tolist()] == ["\0", "\0", "a", "\0"]
    assert [CHARACTERS[code] for code in cells.codes[4].tolist()] == ["b", "\0", "\0", "\0"]
    assert int((cells.codes != BLANK).sum()) == 2


@pytest.mark.parametrize(
    ("centres", "expected"),
    [
        ((3, 10, 17, 24), "abcd"),
        ((5, 24), "a..b"),
        ((8, 10, 12), ".abc"),
        ((22, 24, 27), ".abc"),
        ((1, 2, 3, 4, 5), "abcd"),
    ],
)
def test_crowded_glyphs_are_pushed_apart_in_order(centres: tuple[int, ...], expected: str) -> None:
    cells = place([Glyph(c, x, 5) for c, x in reversed(list(zip("abcde", centres, strict=False)))], 1, 1)
    assert "".join(CHARACTERS[code] if code else "." for code in cells.codes[0].tolist()) == expected.ljust(SLOTS, ".")


@pytest.mark.parametrize(("x", "y"), [(-1, 5), (5, -1), (CELL, 5), (5, CELL)])
def test_what_is_outside_the_picture_is_lost(x: float, y: float) -> None:
    assert place([Glyph("a", x, y)], 1, 1).text() == ""


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("seed", range(20))
def test_a_pseudo_picture_reads_as_its_text(text: str, seed: int) -> None:
    cells = pseudo_picture(text, Random(seed))
    assert cells.codes.shape == (cells.height * cells.width, SLOTS)
    assert len(cells.codes) <= MAX_CELLS
    assert " ".join(cells.text().split()).startswith(text)


def test_a_text_that_is_too_long_is_cut_at_its_end() -> None:
    text = "seven words that are repeated quite often " * 20
    assert text.startswith(" ".join(pseudo_picture(text, Random(1)).text().split()))


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_words_of_a_picture_are_those_that_were_written(noise: float, seed: int) -> None:
    text = "bake a loaf of bread at home"
    cells = pseudo_picture(text, Random(seed), noise)
    assert [word for _, word in cells.words][: len(text.split())] == text.split()
    ends = [cell for cell, _ in cells.words]
    assert ends == sorted(ends)
    assert all(0 <= cell < len(cells.codes) for cell in ends)


def test_a_word_is_named_where_it_ends() -> None:
    glyphs = [Glyph(letter, 14 * place + 7, 14) for place, letter in enumerate("tea is hot")]
    glyphs += [Glyph("!", 7, CELL + 14)]
    assert place(glyphs, 2, 5).words == ((1, "tea"), (2, "is"), (4, "hot"), (5, "!"))


def test_noise_changes_some_characters_and_the_seed_decides_which() -> None:
    text = TEXTS[3]
    clean, noisy = pseudo_picture(text, Random(1)), pseudo_picture(text, Random(1), noise=0.2)
    assert noisy.text() != clean.text()
    assert noisy.text() == pseudo_picture(text, Random(1), noise=0.2).text()


@pytest.mark.parametrize("hidden", [96, 256])
def test_cell_vectors_can_be_decoded(hidden: int) -> None:
    table = glyph_table(hidden)
    assert torch.equal(table, glyph_table(hidden))
    codes = torch.randint(len(CHARACTERS), (50, SLOTS), generator=torch.Generator().manual_seed(0))
    vectors = embed(codes, table)
    assert torch.equal(torch.einsum("nh,kch->nkc", vectors, table).argmax(-1), codes)
    assert vectors.square().mean().sqrt().item() == pytest.approx(0.05, rel=1e-3)
