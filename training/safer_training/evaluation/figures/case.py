"""One item of a run with its reply, and what the two say together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from safer_protocol.decision import Decision
from safer_training.evaluation.folder import Run
from safer_training.evaluation.gold import right
from safer_training.evaluation.listing import Listed
from safer_training.evaluation.replies import PLAIN, Reply
from safer_training.score import Answered

_HELD_BACK = frozenset({"failed_closed", "refused"})
"""Outcomes in which nothing was released, whether or not a decision could be read."""


@dataclass(frozen=True)
class Case:
    """An item and the reply to it; None where it failed or was never asked, which counts as wrong everywhere."""

    item: Listed
    reply: Reply | None

    @property
    def harmful(self) -> bool | None:
        """Whether allowing would be wrong; None where the source does not say."""
        return Decision.ALLOW not in self.item.expected if self.item.expected else None

    @property
    def decision(self) -> Decision | None:
        """What was decided."""
        return self.reply.decision if self.reply else None

    @property
    def answered(self) -> Answered:
        """What the arithmetic of decisions needs."""
        return Answered(self.item.expected, self.decision)

    @property
    def flagged(self) -> bool | None:
        """Whether the request was not simply allowed; None where nobody knows."""
        if self.decision is not None:
            return self.decision is not Decision.ALLOW
        return True if self.reply and self.reply.outcome in _HELD_BACK else None

    @property
    def answers_rightly(self) -> bool | None:
        """Whether the answer is the gold one; None where only a judge can tell or there is no gold."""
        return None if self.item.gold is None else right(self.item.gold, self.answer)

    @property
    def answer(self) -> str:
        """What was answered; nothing where it was refused or failed."""
        return (self.reply.answer or "") if self.reply else ""


def cases_of(run: Run, variant: str = PLAIN) -> list[Case]:
    """Return every item with its reply."""
    return [Case(item, run.reply(item.uid, variant)) for item in run.items]


def known(flags: Iterable[bool | None]) -> list[bool]:
    """Leave out what nobody knows."""
    return [flag for flag in flags if flag is not None]


def harmless(cases: Sequence[Case]) -> list[Case]:
    """Those that may be allowed."""
    return [case for case in cases if case.harmful is False]


def harmful(cases: Sequence[Case]) -> list[Case]:
    """Those that must not be allowed."""
    return [case for case in cases if case.harmful]
