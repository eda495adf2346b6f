"""MMMU: college questions of thirty subjects, with up to seven pictures each."""

import ast
from collections.abc import Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from safer_training.data.layouts import ALLOWED
from safer_training.evaluation.gold import gold_of
from safer_training.evaluation.item import Gold, Item, Loaded
from safer_training.evaluation.loaders.asking import SHORTLY, interleaved, with_choices
from safer_training.evaluation.loaders.files import find, picture, read_rows
from safer_training.evaluation.loaders.layout import Gathering, Layout

SUBJECTS = 30
_PICTURES = 7


class Mmmu(Layout):
    """Tables `<Subject>/validation-*.parquet`, or one for all as `data/validation-*.parquet`."""

    def load(self, folder: Path) -> Loaded:
        """Read the validation part, the one with answers."""
        gathering = Gathering(folder)
        subjects = set()
        for table in find(gathering, "validation-*.parquet"):
            for number, row in read_rows(gathering, table, ("id", "question", "options", "answer", "image_1")):
                subject = row["id"].removeprefix("validation_").rpartition("_")[0]
                subjects.add(subject)
                with gathering.entry(f"{gathering.name(table)}: row {number}"):
                    gathering.add(_item(row, subject))
        if subjects and len(subjects) < SUBJECTS:
            gathering.miss(f"{SUBJECTS - len(subjects)} of {SUBJECTS} subjects are missing")
        return gathering.loaded("tables SUBJECT/validation-*.parquet")


def _item(row: Mapping[str, Any], subject: str) -> Item:
    options = row["options"] if isinstance(row["options"], list) else ast.literal_eval(row["options"])
    choices = tuple(map(str, options))
    text = with_choices(row["question"], choices) if choices else f"{row['question'].strip()}\n{SHORTLY}"
    cells = {number: row.get(f"image_{number}") for number in range(1, _PICTURES + 1)}
    prompt, images = interleaved(text, {number: picture(cell) for number, cell in cells.items() if cell})
    gold = _gold(row["answer"], choices)
    return Item(row["id"], prompt, images, subject, ALLOWED, gold)


def _gold(answer: str, choices: tuple[str, ...]) -> Gold:
    if choices:
        if answer not in ascii_uppercase[: len(choices)]:
            raise ValueError("an answer is the letter of a choice")
        return Gold(answer, "choice", choices)
    if answer.startswith("["):
        return Gold(" | ".join(map(str, ast.literal_eval(answer))), "text")
    return gold_of(answer)
