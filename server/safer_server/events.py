"""What the guard tells while a case goes on."""

from dataclasses import dataclass

from safer_protocol.decision import Decision
from safer_protocol.trace import Call
from safer_server.record import Record


@dataclass(frozen=True)
class Reasoning:
    """A finished, well-formed line of the plan or trace with its newline; `call` where it is a tool call.

    A line is told before the whole trace has been verified.
    """

    line: str
    call: Call | None = None


@dataclass(frozen=True)
class Decided:
    """Plan and trace are complete and verified."""

    decision: Decision


@dataclass(frozen=True)
class Delivered:
    """A stretch of the answer, or of the refusal."""

    text: str
    is_refusal: bool = False


@dataclass(frozen=True)
class Finished:
    """The end of the case, always the last event; if it failed closed, whatever was delivered before is void."""

    record: Record


Event = Reasoning | Decided | Delivered | Finished
