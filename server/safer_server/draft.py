"""Plan and trace while they are being written."""

from collections.abc import Iterator
from typing import Literal

from safer_protocol.plan import Plan
from safer_protocol.reply import Reply
from safer_protocol.text import TRACE_CLOSE, Part, Reader
from safer_protocol.toolkit import Toolkit
from safer_protocol.trace import Call
from safer_protocol.verify import Report, verify
from safer_protocol.violation import Code
from safer_server.events import Reasoning
from safer_server.record import BrokenReplyError, Failure

Section = Literal["plan", "trace", "answer"]

MAX_CHARACTERS = 65_536
"""No reply is longer, plan and trace and answer together."""


class Draft:
    """A reply as far as it has been written.

    `text` is all of it; `head`, `plan` and `calls` are what has been found sound.
    """

    def __init__(self, toolkit: Toolkit) -> None:
        self.text = ""
        self.head = ""
        self.plan: Plan | None = None
        self.calls: list[Call] = []
        self._toolkit = toolkit
        self._reader = Reader(toolkit)
        self._rest = ""

    def add(self, text: str) -> None:
        """Take what the engine wrote next; raise `BrokenReplyError` if that is too much."""
        self.text += text
        self._rest += text
        if len(self.text) > MAX_CHARACTERS:
            raise BrokenReplyError(Failure.TOO_LONG)

    @property
    def section(self) -> Section:
        """What is being written."""
        match self._reader.part:
            case Part.PLAN_OPEN | Part.HEAD | Part.TOOLS:
                return "plan"
            case Part.TRACE_OPEN | Part.TRACE:
                return "trace"
            case Part.ANSWER_OPEN | Part.ANSWER | Part.END:
                return "answer"

    def reasoning(self) -> Iterator[Reasoning]:
        """Take the finished lines of plan and trace; raise `BrokenReplyError` at one that cannot belong to a valid trace."""
        while self.section != "answer" and (line := self._next_line()) is not None:
            self._reader.feed(line)
            if not self._is_sound(line):
                raise BrokenReplyError(Failure.INVALID_TRACE)
            self.head += f"{line}\n"
            new = self._reader.calls[len(self.calls) :]
            self.calls += new
            if self.section != "plan":
                self.plan = self._reader.plan
            yield Reasoning(f"{line}\n", new[0] if new else None)

    def _next_line(self) -> str | None:
        line, newline, rest = self._rest.partition("\n")
        if not newline:
            return None
        self._rest = rest
        return line

    def _is_sound(self, line: str) -> bool:
        """Whether what has been read, `line` last, is a valid trace as far as it goes."""
        if self._reader.violations:
            return False
        plan = self._reader.plan
        if plan is None:
            return True
        reply = Reply(plan=plan, trace=tuple(self._reader.calls), answer=None)
        found = {violation.code for violation in verify(reply, self._toolkit).violations}
        if self.section == "plan":
            return found <= {Code.MISSING_DECISION, Code.PLAN_TOOLS}  # the list of tools may go on
        return found <= {Code.MISSING_DECISION} and (not found or line != TRACE_CLOSE)

    def verdict(self) -> Report:
        """Verify the finished plan and trace as text; raise `BrokenReplyError` unless they are valid."""
        report = verify(self.head, self._toolkit)
        if not report.valid:
            raise BrokenReplyError(Failure.INVALID_TRACE)
        return report

    def answer_text(self) -> str:
        """Take what has been written of the answer since last asked, its opening tag left out."""
        if self._reader.part is Part.ANSWER_OPEN:
            line = self._next_line()
            if line is None:
                return ""
            self._reader.feed(line)
            if self._reader.violations:
                raise BrokenReplyError(Failure.INVALID_ANSWER)
        taken, self._rest = self._rest, ""
        return taken
