"""Near duplicates: texts that share most of their character 5-grams, found by MinHash."""

from collections.abc import Iterable, Sequence
from itertools import islice

from datasketch import MinHash, MinHashLSH

from safer_training.rows import Row, words

COPY, KIN = 0.85, 0.6
"""Estimated Jaccard similarity from which texts count as copies of one another, and as paraphrases."""
_GRAM, _PERMUTATIONS = 5, 64


def without_near_copies(rows: Sequence[Row]) -> list[Row]:
    """Drop text rows that nearly repeat an earlier one of the same decisions; pairs of other decisions teach a contrast."""
    index = MinHashLSH(threshold=COPY, num_perm=_PERMUTATIONS)
    kept: list[Row] = []
    numbers: dict[int, MinHash] = {}
    for row, sketch in zip(rows, _sketches(rows), strict=True):
        if row.image is None and row.text:
            near = (number for number in index.query(sketch) if sketch.jaccard(numbers[number]) >= COPY)
            if any(kept[number].expected == row.expected for number in near):
                continue
            index.insert(len(kept), sketch)
            numbers[len(kept)] = sketch
        kept.append(row)
    return kept


def away_from(rows: Sequence[Row], guarded: Sequence[Row]) -> list[Row]:
    """Drop text rows that come near a guarded one, whatever their decisions."""
    index = MinHashLSH(threshold=KIN, num_perm=_PERMUTATIONS)
    # Pictures share a handful of questions, which say nothing about kinship.
    texts = [row for row in guarded if row.text and (row.image is None or row.pictured)]
    sketches = dict(enumerate(_sketches(texts)))
    for number, sketch in sketches.items():
        index.insert(number, sketch)
    return [
        row
        for row, sketch in zip(rows, _sketches(rows), strict=True)
        if row.image is not None or not any(sketch.jaccard(sketches[number]) >= KIN for number in index.query(sketch))
    ]


def _sketches(rows: Sequence[Row]) -> Iterable[MinHash]:
    grams = ([gram.encode() for gram in _grams(words(row.text))] for row in rows)
    return islice(MinHash.generator(grams, num_perm=_PERMUTATIONS), len(rows))


def _grams(text: str) -> set[str]:
    return {text[start : start + _GRAM] for start in range(max(1, len(text) - _GRAM + 1))}
