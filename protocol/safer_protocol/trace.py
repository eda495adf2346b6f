"""The trace: the calls that lead from a plan to a decision."""

from dataclasses import dataclass

from safer_protocol.decision import Risk
from safer_protocol.fields import Value
from safer_protocol.frozen import Frozen
from safer_protocol.tools import CATEGORY_KEY, RISK_KEY


class Call(Frozen):
    """One call of a virtual tool: its name, and its fields in the order in which they were written."""

    tool: str
    fields: dict[str, Value]


Trace = tuple[Call, ...]


@dataclass(frozen=True)
class Standing:
    """Risk and category in force: the plan's guess, until calls replace it."""

    risk: str
    category: str

    def after(self, call: Call) -> "Standing":
        """What is in force after a call: its `level` and `category` where it gives them."""
        risk, category = call.fields.get(RISK_KEY), call.fields.get(CATEGORY_KEY)
        return Standing(
            risk if isinstance(risk, str) and risk in tuple(Risk) else self.risk,
            category if isinstance(category, str) else self.category,
        )


def score_of(trace: Trace) -> float | None:
    """Return the last score that came with a level, from 0 to 1; None where there is none."""
    scores = [call.fields.get("score") for call in trace if RISK_KEY in call.fields]
    return next((points / 100 for points in reversed(scores) if isinstance(points, int)), None)
