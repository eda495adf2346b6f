"""What a run asks of a target, whatever stands behind it."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from safer_training.evaluation.manifest import TargetCard
from safer_training.evaluation.question import Question
from safer_training.evaluation.replies import Reply


class Target(Protocol):
    """Replies to questions, a batch at a time, and to several batches at once."""

    @property
    def card(self) -> TargetCard:
        """Who it is, for the manifest."""
        ...

    @property
    def at_once(self) -> int:
        """The batches that it takes at the same time."""
        ...

    def batches(self, questions: Sequence[Question]) -> Iterable[Sequence[Question]]:
        """Share questions out to batches, each question to one."""
        ...

    async def reply(self, batch: Sequence[Question]) -> Sequence[Reply]:
        """Reply to every question of a batch, in its order.

        A question that cannot be asked is a reply with an error. Raise `TargetError` where a whole batch has no reply, and
        `TargetGoneError` where the next one would have none either.
        """
        ...


def one_by_one(questions: Sequence[Question]) -> Iterable[Sequence[Question]]:
    """Make every question a batch of its own."""
    return ((question,) for question in questions)


def alike(questions: Sequence[Question], size: int) -> Iterable[Sequence[Question]]:
    """Make batches of questions with pictures and of questions without, each of like length, which wastes least padding."""
    for pictured in (False, True):
        group = [question for question in questions if bool(question.images) is pictured]
        group.sort(key=lambda question: sum(len(message.model_dump_json()) for message in question.prompt))
        yield from (group[at : at + size] for at in range(0, len(group), size))
