"""A whole reply: plan, trace and answer."""

from safer_protocol.frozen import Frozen
from safer_protocol.plan import Plan
from safer_protocol.trace import Trace


class Reply(Frozen):
    """What a model writes for one request; `answer` is None for a reply that only decides."""

    plan: Plan
    trace: Trace
    answer: str | None
