"""How long replies took: quantiles over the rows that have a reply."""

from collections.abc import Sequence

import numpy as np

from safer_protocol.frozen import Frozen
from safer_training.evaluation.figures.case import Case

_POINTS = 101


class Quantiles(Frozen):
    """Seconds at the hundredths of the rows, from the fastest to the slowest."""

    rows: int
    seconds: tuple[float, ...]

    def at(self, hundredths: int) -> float:
        """Return the seconds within which so many per cent of the rows are done."""
        return self.seconds[hundredths]


class Timing(Frozen):
    """Quantiles of the time to the decision and of the whole reply, and the tokens."""

    decision: Quantiles | None
    reply: Quantiles | None
    prompt_tokens: int
    completion_tokens: int


def timing_of(cases: Sequence[Case]) -> Timing:
    """Count the times and tokens of a set."""
    replies = [case.reply for case in cases if case.reply]
    return Timing(
        decision=_quantiles([one.decision_seconds for one in replies if one.decision_seconds is not None]),
        reply=_quantiles([one.seconds for one in replies]),
        prompt_tokens=sum(one.prompt_tokens or 0 for one in replies),
        completion_tokens=sum(one.completion_tokens or 0 for one in replies),
    )


def _quantiles(seconds: Sequence[float]) -> Quantiles | None:
    if not seconds:
        return None
    found = np.quantile(np.array(seconds), np.linspace(0, 1, _POINTS))
    return Quantiles(rows=len(seconds), seconds=tuple(round(float(one), 6) for one in found))
