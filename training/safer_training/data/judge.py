"""The judge's filter: a taught reply stays where a judge gives it high scores in all four respects."""

from dataclasses import dataclass

from PIL import Image

from safer_training.data.records import TextContent
from safer_training.data.teachers import Task
from safer_training.judge import Judge, Judged

NO_SCORES = "the judge gave no scores"


@dataclass(frozen=True)
class Filter:
    """A judge, its name, and the lowest score that a reply may have in any respect."""

    judge: Judge
    name: str
    least: int = 7

    def fault(self, task: Task, reply: str) -> str | None:
        """Say why a reply is not good enough, or None; the judge sees the first picture, as in the paper."""
        said = [
            f"[{message.role}] {part.text}"
            for message in task.messages
            for part in message.content
            if isinstance(part, TextContent)
        ]
        (scores,) = self.judge.score([Judged("\n".join(said), reply, _first(task))])
        if scores is None:
            return NO_SCORES
        low = [respect for respect, score in scores.model_dump().items() if score < self.least]
        return f"low scores: {', '.join(low)}" if low else None


def _first(task: Task) -> Image.Image | None:
    if not task.images:
        return None
    with Image.open(task.images[0]) as image:
        return image.convert("RGB")
