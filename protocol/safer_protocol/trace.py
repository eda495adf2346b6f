"""The trace: the calls that lead from a plan to a decision."""

from safer_protocol.fields import Value
from safer_protocol.frozen import Frozen


class Call(Frozen):
    """One call of a virtual tool: its name, and its fields in the order in which they were written."""

    tool: str
    fields: dict[str, Value]


Trace = tuple[Call, ...]
