"""The held-out part of rows that `safer data build` made."""

from pathlib import Path

from safer_training.data.records import GrpoRow, read_part
from safer_training.evaluation.gold import gold_of
from safer_training.evaluation.item import Item, Loaded
from safer_training.evaluation.loaders.layout import Gathering, Layout
from safer_training.evaluation.loaders.twins import twin_of


class HeldOut(Layout):
    """`held_out.jsonl` and the pictures below it."""

    def load(self, folder: Path) -> Loaded:
        """Read the rows; raise `DataError` naming a line that cannot be read."""
        gathering = Gathering(folder)
        for row in read_part(folder, "held_out", GrpoRow):
            gathering.add(
                Item(
                    uid=row.uid,
                    prompt=row.prompt,
                    images=tuple(folder / image for image in row.images),
                    category=row.category,
                    expected=row.expected,
                    gold=None if row.answer is None else gold_of(row.answer),
                    twin=twin_of(row.uid),
                )
            )
        return gathering.loaded("held-out rows")
