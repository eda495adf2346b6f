"""BeaverTails-V: harmful questions about pictures, in twenty categories."""

import hashlib
from pathlib import Path

from safer_training.data.labels import BEAVERTAILS_V
from safer_training.data.layouts import REFUSED
from safer_training.evaluation.item import Item, Loaded
from safer_training.evaluation.loaders.files import find, picture, read_rows
from safer_training.evaluation.loaders.layout import Gathering, Layout, user


class BeaverTailsV(Layout):
    """Tables `data/<category>/evaluation-*.parquet` with question and image; a question stands once for each reply it had."""

    split: str = "evaluation"

    def load(self, folder: Path) -> Loaded:
        """Read the split of every category; a category that is not there is missed."""
        gathering = Gathering(folder)
        tables = find(gathering, f"{self.split}-*.parquet")
        for table in tables:
            category, asked = table.parent.name, set[str]()
            for number, row in read_rows(gathering, table, ("question", "image")):
                with gathering.entry(f"{gathering.name(table)}: row {number}"):
                    prompt, content = user(row["question"], pictures=1), picture(row["image"])
                    name = hashlib.sha256(row["question"].encode() + content).hexdigest()[:12]
                    if name not in asked:
                        asked.add(name)
                        content = gathering.shared(content)
                        gathering.add(Item(f"{category}/{name}", prompt, (content,), category, REFUSED))
        for category in sorted(set(BEAVERTAILS_V) - {table.parent.name for table in tables}):
            gathering.miss(f"the category {category} is missing")
        return gathering.loaded(f"tables data/CATEGORY/{self.split}-*.parquet")
