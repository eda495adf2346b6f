"""What a checkpoint does with held-out prompts: greedy replies under the mask, verified, and compared with the labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safer_protocol.verify import verify
from safer_training.data.records import GrpoRow
from safer_training.replies import Writer
from safer_training.rewards import Verified
from safer_training.score import Answered, Figures, figures

BATCH = 24


@dataclass(frozen=True)
class Measured:
    """Figures of a checkpoint: the mean of the reward `verified`, the share of replies that verify, and its decisions."""

    reward: float
    valid: float
    decisions: Figures

    def to_dict(self) -> dict[str, object]:
        """Return the figures as JSON takes them."""
        return asdict(self)


def measure(writer: Writer, rows: Sequence[GrpoRow], folder: Path) -> Measured:
    """Have a checkpoint answer rows whose pictures lie below `folder`."""
    toolkit = writer.machine.toolkit
    answered, rewards, valid = [], [], 0
    for some in _alike(rows):
        texts = writer.write([row.turns(folder) for row in some])
        for row, text in zip(some, texts, strict=True):
            report = verify(text, toolkit)
            valid += report.valid
            answered.append(Answered(row.expected, report.decision))
            rewards.append(Verified(toolkit).one(text, row.expected, row.category, row.answer))
    return Measured(sum(rewards) / len(rewards), valid / len(rewards), figures(answered))


def _alike(rows: Sequence[GrpoRow]) -> list[list[GrpoRow]]:
    """Return batches of rows with pictures and of rows without, each of like length."""
    batches = []
    for pictured in (False, True):
        group = [row for row in rows if bool(row.images) is pictured]
        group.sort(key=lambda row: len(row.model_dump_json()))
        batches += [group[at : at + BATCH] for at in range(0, len(group), BATCH)]
    return batches
