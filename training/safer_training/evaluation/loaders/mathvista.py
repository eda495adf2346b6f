"""MathVista: mathematics about pictures, by choice or with a number or list as the answer."""

from collections.abc import Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from safer_training.data.layouts import ALLOWED
from safer_training.evaluation.gold import gold_of
from safer_training.evaluation.item import Gold, Item, Loaded
from safer_training.evaluation.loaders.asking import NUMBER, SHORTLY, with_choices
from safer_training.evaluation.loaders.files import find, picture, read_entries, read_rows
from safer_training.evaluation.loaders.layout import Gathering, Layout, user

_COLUMNS = ("pid", "question", "choices", "unit", "precision", "answer", "answer_type", "decoded_image", "metadata")


class MathVista(Layout):
    """Tables `data/testmini-*.parquet`, or `testmini.json` with `images/` beside it or above."""

    def load(self, folder: Path) -> Loaded:
        """Read whichever of the two is there; `testmini` is the part with answers."""
        gathering = Gathering(folder)
        tables = find(gathering, "testmini-*.parquet")
        for table in tables:
            for number, row in read_rows(gathering, table, _COLUMNS):
                with gathering.entry(f"{gathering.name(table)}: row {number}"):
                    gathering.add(_item(row["pid"], row, picture(row["decoded_image"])))
        file = None if tables else next(iter(sorted(folder.rglob("testmini.json"))), None)
        if file is not None:
            base = file.parent if (file.parent / "images").is_dir() else folder
            for pid, row in read_entries(gathering, file).items():
                with gathering.entry(pid):
                    gathering.add(_item(pid, row, base / row["image"]))
        return gathering.loaded("data/testmini-*.parquet or testmini.json")


def _item(pid: str, row: Mapping[str, Any], image: Path | bytes) -> Item:
    choices, answer = tuple(row["choices"] or ()), str(row["answer"])
    question = row["question"] + (f" (unit: {row['unit']})" if row["unit"] else "")
    if answer in choices:
        text = with_choices(question, choices)
        gold = Gold(ascii_uppercase[choices.index(answer)], "choice", choices)
    else:
        gold = gold_of(answer)
        text = f"{question}\n{_form(row) if gold.kind == 'number' else SHORTLY}"
    return Item(pid, user(text, pictures=1), (image,), row["metadata"]["task"], ALLOWED, gold)


def _form(row: Mapping[str, Any]) -> str:
    places = int(row["precision"] or 0)
    return f"{NUMBER[:-1]} with {places} decimal place{'s' if places > 1 else ''}." if places else NUMBER
