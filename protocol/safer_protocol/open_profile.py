"""The open profile: the line form that was released with the paper, with free texts and coined tool names, and no plan.

Nothing of it decides anything, so no server answers under it; it is there to read, write and check what released models and data
hold. What can be verified is verified: the blocks, the form of each line, how many calls there are, and that there is an answer.
Fewer than three calls earn nothing in the released reward (arXiv 2603.02635), so three are the least here.
"""

import re
from math import inf

from safer_protocol.errors import ValueFormError
from safer_protocol.frozen import Frozen
from safer_protocol.grammar import AnswerBlock, Block, OpenCallBlock, OpenStartBlock
from safer_protocol.text import ANSWER_CLOSE, ANSWER_OPEN, TRACE_CLOSE, TRACE_OPEN
from safer_protocol.toolkit import Toolkit
from safer_protocol.verify import answer_violations
from safer_protocol.violation import Code, Violation

LEAST_CALLS, MOST_CALLS = 3, 10
TEXT_TOKENS = 80
"""Budget of one call's text while decoding; a text that was written elsewhere may be longer."""

_CALL = re.compile(r"\[([A-Z][A-Z0-9_-]{0,39})\]: ([^\n<\x00-\x1f\x7f\ud800-\udfff]+)")


class OpenCall(Frozen):
    """A tool, published, ours or coined, and what was observed."""

    tool: str
    text: str


class OpenReply(Frozen):
    """A trace and an answer."""

    trace: tuple[OpenCall, ...]
    answer: str


class OpenReport(Frozen):
    """The outcome of a verification; `coined` names the tools that the toolkit does not have."""

    valid: bool
    violations: tuple[Violation, ...]
    coined: tuple[str, ...]


def print_open(reply: OpenReply) -> str:
    """Write a reply; raise `ValueFormError` for a name or text that has no written form."""
    lines = []
    for call in reply.trace:
        line = f"[{call.tool}]: {call.text}"
        if not _CALL.fullmatch(line):
            raise ValueFormError(f"{call.tool}: not a tool name and one line of text without <")
        lines.append(f"{line}\n")
    if ANSWER_CLOSE in reply.answer:
        raise ValueFormError(f"an answer cannot hold {ANSWER_CLOSE}")
    return f"{TRACE_OPEN}\n{''.join(lines)}{TRACE_CLOSE}\n{ANSWER_OPEN}\n{reply.answer}\n{ANSWER_CLOSE}\n"


def parse_open(text: str) -> OpenReply | Violation:
    """Read a text; return what is wrong with its form where it has not this form."""
    begin, middle, end = f"{TRACE_OPEN}\n", f"{TRACE_CLOSE}\n{ANSWER_OPEN}\n", f"\n{ANSWER_CLOSE}\n"
    trace, found, answer = text.partition(middle)
    if not (text.startswith(begin) and found and answer.endswith(end)):
        return Violation(
            code=Code.SYNTAX, message=f"expected {TRACE_OPEN}, {TRACE_CLOSE}, {ANSWER_OPEN}, {ANSWER_CLOSE}"
        )
    calls = []
    for step, line in enumerate(trace.removeprefix(begin).split("\n")[:-1]):
        call = _CALL.fullmatch(line)
        if not call:
            return Violation(code=Code.SYNTAX, message="expected [TOOL-NAME]: text", step=step)
        calls.append(OpenCall(tool=call[1], text=call[2]))
    return OpenReply(trace=tuple(calls), answer=answer.removesuffix(end))


def verify_open(text: str, toolkit: Toolkit) -> OpenReport:
    """Check any text against the released line form; never raises."""
    reply = parse_open(text)
    if isinstance(reply, Violation):
        return OpenReport(valid=False, violations=(reply,), coined=())
    violations = answer_violations(reply.answer, None, toolkit)
    if len(reply.trace) < LEAST_CALLS:
        violations.append(Violation(code=Code.MISSING_DECISION, message=f"fewer than {LEAST_CALLS} calls"))
    if len(reply.trace) > MOST_CALLS:
        violations.append(Violation(code=Code.BUDGET_CALLS, message=f"more than {MOST_CALLS} calls", step=MOST_CALLS))
    coined = dict.fromkeys(call.tool for call in reply.trace if call.tool not in toolkit.by_name)
    return OpenReport(valid=not violations, violations=tuple(violations), coined=tuple(coined))


class OpenWalker:
    """Follows a text of the open profile."""

    def __init__(self, answer_tokens: int | None = None) -> None:
        """Stand at the beginning."""
        self.prefix = ""
        self._answer_tokens = inf if answer_tokens is None else answer_tokens
        self._lines = 0
        self._answered = False

    def read(self, text: str) -> None:
        """Take finished lines."""
        self._answered = text.startswith(TRACE_CLOSE)
        self._lines += text.count("\n")

    def following(self) -> tuple[Block, ...]:
        """The blocks that may come next."""
        if self._answered:
            return ()
        if self._lines == 0:
            return (OpenStartBlock(),)
        calls = self._lines - 1
        more = (OpenCallBlock(),) if calls < MOST_CALLS else ()
        return (*more, AnswerBlock(None)) if calls >= LEAST_CALLS else more

    def budget(self, block: Block, slot: int) -> float:
        """Tokens of a call's text or of the answer."""
        return TEXT_TOKENS if isinstance(block, OpenCallBlock) else self._answer_tokens
