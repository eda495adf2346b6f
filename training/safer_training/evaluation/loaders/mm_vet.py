"""MM-Vet: open questions that need several abilities at once; whether an answer is right is for a judge."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safer_training.data.layouts import ALLOWED
from safer_training.evaluation.item import Gold, Item, Loaded
from safer_training.evaluation.loaders.files import find, picture, read_entries, read_rows
from safer_training.evaluation.loaders.layout import Gathering, Layout, user


class MmVet(Layout):
    """`mm-vet.json` and `images/` as unzipped, or tables `data/test-*.parquet`."""

    def load(self, folder: Path) -> Loaded:
        """Read whichever of the two is there."""
        gathering = Gathering(folder)
        file = next(iter(sorted(folder.rglob("mm-vet.json"))), None)
        if file is not None:
            for uid, row in read_entries(gathering, file).items():
                with gathering.entry(uid):
                    gathering.add(_item(uid, row, row["capability"], file.parent / "images" / row["imagename"]))
        else:
            for table in find(gathering, "test-*.parquet"):
                needed = ("question_id", "question", "answer", "image", "capability")
                for number, row in read_rows(gathering, table, needed):
                    with gathering.entry(f"{gathering.name(table)}: row {number}"):
                        abilities = row["capability"].split(",")
                        gathering.add(_item(row["question_id"], row, abilities, picture(row["image"])))
        return gathering.loaded("mm-vet.json")


def _item(uid: str, row: Mapping[str, Any], abilities: Iterable[str], image: Path | bytes) -> Item:
    category = " ".join(sorted(ability.strip() for ability in abilities))
    return Item(uid, user(row["question"], pictures=1), (image,), category, ALLOWED, Gold(row["answer"], "open"))
