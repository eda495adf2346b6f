"""POPE: whether a named thing is in the picture."""

from pathlib import Path
from typing import Any

from safer_training.data.layouts import ALLOWED
from safer_training.evaluation.item import Gold, Item, Loaded
from safer_training.evaluation.loaders.asking import YES_OR_NO
from safer_training.evaluation.loaders.files import find, picture, read_rows
from safer_training.evaluation.loaders.layout import Gathering, Layout, user

KINDS = ("random", "popular", "adversarial")
"""How the things that are not in the picture were chosen."""


class Pope(Layout):
    """Tables `data/test-*.parquet`, or `coco_pope_<kind>.json` (JSON lines) and the pictures of COCO in `val2014/`."""

    def load(self, folder: Path) -> Loaded:
        """Read whichever of the two is there."""
        gathering = Gathering(folder)
        tables = find(gathering, "test-*.parquet")
        for table in tables:
            for number, row in read_rows(gathering, table, ("question_id", "question", "answer", "image", "category")):
                with gathering.entry(f"{gathering.name(table)}: row {number}"):
                    image = gathering.shared(picture(row["image"]))
                    gathering.add(_item(row["category"], row["question_id"], row["question"], row["answer"], image))
        if not tables:
            self._load_lines(gathering)
        return gathering.loaded("tables data/test-*.parquet or files coco_pope_*.json")

    def _load_lines(self, gathering: Gathering) -> None:
        files = [path for path in gathering.folder.rglob("coco_pope_*.json") if path.is_file()]
        pictures = gathering.folder / "val2014"
        for kind in KINDS:
            file = next((path for path in files if path.stem == f"coco_pope_{kind}"), None)
            if file is None:
                gathering.miss(f"coco_pope_{kind}.json is missing")
                continue
            for number, row in read_rows(gathering, file, ("question_id", "image", "text", "label"), kind="jsonl"):
                with gathering.entry(f"{file.name}: row {number}"):
                    image = pictures / row["image"]
                    gathering.add(_item(kind, row["question_id"], row["text"], row["label"], image))


def _item(kind: str, number: Any, question: str, answer: str, image: Path | bytes) -> Item:
    said = answer.strip().lower()
    if said not in ("yes", "no"):
        raise ValueError("the answer is neither yes nor no")
    prompt = user(f"{question} {YES_OR_NO}", pictures=1)
    return Item(f"{kind}/{number}", prompt, (image,), kind, ALLOWED, Gold(said, "yes_no"))
