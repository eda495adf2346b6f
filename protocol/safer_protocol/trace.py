"""The trace: the calls that lead from a plan to a decision."""

from safer_protocol.decision import Risk
from safer_protocol.fields import Value
from safer_protocol.frozen import Frozen
from safer_protocol.tools import RISK_KEY


class Call(Frozen):
    """One call of a virtual tool: its name, and its fields in the order in which they were written."""

    tool: str
    fields: dict[str, Value]


Trace = tuple[Call, ...]


def next_risk(risk: str, call: Call) -> str:
    """Return the risk in force after a call: its `level` where it gives one."""
    level = call.fields.get(RISK_KEY)
    return level if isinstance(level, str) and level in tuple(Risk) else risk
