"""Folders of rows of facts, by set."""

from pathlib import Path

from pydantic import Field

from safer_training.data.facts import PICTURES_FILE, PROMPTS_FILE, read_facts
from safer_training.data.layouts import Found
from safer_training.errors import DataError
from safer_training.evaluation.gold import gold_of
from safer_training.evaluation.item import Item, Loaded
from safer_training.evaluation.loaders.layout import Gathering, Layout, user
from safer_training.evaluation.loaders.twins import twin_of
from safer_training.rows import side_of


class Facts(Layout):
    """`prompts.jsonl` and `benign_images.jsonl` with the pictures they name."""

    sets: tuple[str, ...] = Field(min_length=1)
    unseen: bool = False
    """Only rows of groups that training on this folder never takes."""
    gold: bool = False
    """Only rows with a gold answer."""

    def load(self, folder: Path) -> Loaded:
        """Read the rows of the sets."""
        files = tuple(name for name in (PROMPTS_FILE, PICTURES_FILE) if (folder / name).is_file())
        if not files:
            raise DataError(f"neither {PROMPTS_FILE} nor {PICTURES_FILE} in {folder}")
        gathering = Gathering(folder)
        found_sets = set()
        for found in read_facts(folder, files):
            row = found.row
            if row.set not in self.sets:
                continue
            found_sets.add(row.set)
            if (self.unseen and side_of(row) == "train") or (self.gold and row.answer is None):
                continue
            gathering.add(_item(found))
        for name in self.sets:
            if name not in found_sets:
                gathering.miss(f"no rows of the set {name}")
        return gathering.loaded(f"rows of {', '.join(self.sets)}")


def _item(found: Found) -> Item:
    row = found.row
    picture = found.picture
    return Item(
        uid=row.uid,
        prompt=user(row.text, pictures=0 if picture is None else 1),
        images=() if picture is None else (picture,),
        category=row.category or row.set,
        expected=row.expected,
        gold=None if row.answer is None else gold_of(row.answer),
        twin=twin_of(row.uid),
    )
