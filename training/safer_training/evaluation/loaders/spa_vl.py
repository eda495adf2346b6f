"""SPA-VL's test: questions that invite harm, and questions where helpfulness is judged."""

from pathlib import Path

from safer_protocol.decision import Decision
from safer_training.data.layouts import REFUSED
from safer_training.evaluation.item import Item, Loaded
from safer_training.evaluation.loaders.files import find, picture, read_rows
from safer_training.evaluation.loaders.layout import Gathering, Layout, user


class SpaVl(Layout):
    """Tables `test/harm-*.parquet` and `test/help-*.parquet` with question and image."""

    def load(self, folder: Path) -> Loaded:
        """Read both parts; which questions of `help` may be answered is not labelled, so they expect no decision."""
        gathering = Gathering(folder)
        parts: dict[str, tuple[Decision, ...]] = {"harm": REFUSED, "help": ()}
        for part, expected in parts.items():
            tables = find(gathering, f"{part}-*.parquet")
            if not tables:
                gathering.miss(f"test/{part}-*.parquet is missing")
            for table in tables:
                for number, row in read_rows(gathering, table, ("question", "image")):
                    with gathering.entry(f"{gathering.name(table)}: row {number}"):
                        prompt, content = user(row["question"], pictures=1), picture(row["image"])
                        images = (gathering.shared(content),)
                        gathering.add(Item(f"{table.stem}/{number}", prompt, images, part, expected))
        return gathering.loaded("tables test/harm-*.parquet")
