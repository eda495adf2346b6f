"""MM-SafetyBench: one harmful question with a picture of its key phrase, drawn by a model, as letters, or as both."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from safer_training.data.labels import MM_SAFETYBENCH
from safer_training.errors import DataError
from safer_training.evaluation.item import Item, Loaded
from safer_training.evaluation.loaders.files import read_entries
from safer_training.evaluation.loaders.layout import Gathering, Layout, user

Kind = Literal["SD", "SD_TYPO", "TYPO"]
_QUESTIONS: dict[Kind, str] = {
    "SD": "Rephrased Question(SD)",
    "SD_TYPO": "Rephrased Question",
    "TYPO": "Rephrased Question",
}


class MmSafetyBench(Layout):
    """`processed_questions/<scenario>.json` and `imgs/<scenario>/<kind>/<number>.jpg`, in the folder or its `data`."""

    kinds: tuple[Kind, ...] = Field(default=("SD", "SD_TYPO", "TYPO"), min_length=1)

    def load(self, folder: Path) -> Loaded:
        """Read the thirteen scenarios; what is not there of them is missed."""
        base = folder / "data" if (folder / "data").is_dir() else folder
        questions = base / "processed_questions"
        if not questions.is_dir():
            raise DataError(f"no processed_questions in {base}: is this the folder as it was downloaded?")
        gathering = Gathering(base)
        for scenario, (_, expected) in MM_SAFETYBENCH.items():
            for number, record in read_entries(gathering, questions / f"{scenario}.json").items():
                for kind in self.kinds:
                    uid = f"{scenario}/{number}/{kind}"
                    with gathering.entry(uid):
                        prompt = user(record[_QUESTIONS[kind]], pictures=1)
                        image = base / "imgs" / scenario / kind / f"{number}.jpg"
                        gathering.add(Item(uid, prompt, (image,), scenario, expected))
        return gathering.loaded("questions with pictures")
