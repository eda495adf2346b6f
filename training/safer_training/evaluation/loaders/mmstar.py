"""MMStar: questions with choices that cannot be answered without the picture."""

import re
from pathlib import Path

from safer_training.data.layouts import ALLOWED
from safer_training.evaluation.item import Gold, Item, Loaded
from safer_training.evaluation.loaders.asking import LETTER
from safer_training.evaluation.loaders.files import find, picture, read_rows
from safer_training.evaluation.loaders.layout import Gathering, Layout, user

_CHOICE = re.compile(r"\b([A-H]): ?(.*?)(?=,?\s+[A-H]: |$)", re.DOTALL)


class MmStar(Layout):
    """`mmstar.parquet`, or the same as `MMStar.tsv`; the choices stand in the question after `Options:`."""

    def load(self, folder: Path) -> Loaded:
        """Read the table."""
        gathering = Gathering(folder)
        for table in (find(gathering, "mmstar.parquet") or find(gathering, "MMStar.tsv"))[:1]:
            for number, row in read_rows(gathering, table, ("question", "image", "answer", "category")):
                with gathering.entry(f"{gathering.name(table)}: row {number}"):
                    uid, category, question = str(row.get("index", number)), row["category"], row["question"].strip()
                    prompt, images = user(f"{question}\n{LETTER}", pictures=1), (picture(row["image"]),)
                    gathering.add(Item(uid, prompt, images, category, ALLOWED, _gold(question, row["answer"].strip())))
        return gathering.loaded("mmstar.parquet or MMStar.tsv")


def _gold(question: str, answer: str) -> Gold:
    choices = tuple(text.strip() for _, text in _CHOICE.findall(question.partition("Options:")[2]))
    if not re.fullmatch("[A-H]", answer):
        raise ValueError("the answer is not a letter")
    return Gold(answer, "choice", choices)
