"""The answer while it is being written: what of it may already be delivered."""

from safer_protocol.decision import Decision
from safer_protocol.text import ANSWER_CLOSE, ANSWER_OPEN
from safer_protocol.toolkit import Toolkit
from safer_protocol.verify import answer_violations
from safer_server.record import BrokenReplyError, Failure

_END = f"\n{ANSWER_CLOSE}"


class Answer:
    """An answer that follows a verified decision.

    Nothing is delivered before the opening agrees with the decision, and whatever might be the beginning of the closing tag
    or of a stop text is held back. Stop texts end a delivered answer; a refusal is never cut by them.
    """

    def __init__(self, decision: Decision, toolkit: Toolkit, stop: tuple[str, ...] = ()) -> None:
        self.delivered = ""
        self.stopped = False
        self._decision = decision
        self._toolkit = toolkit
        self._stop = () if decision is Decision.REFUSE else stop
        self._written = ""
        self._body = ""
        self._opened = False
        self.closed = False

    def add(self, text: str) -> str:
        """Take what was written next and return what may be delivered; raise `BrokenReplyError` at a wrong opening."""
        if self.closed or not text:
            return ""
        self._written += text
        tag = self._written.find(ANSWER_CLOSE, max(0, len(self.delivered) - len(_END)))
        self.closed = tag >= 0
        if self.closed and self._written[tag - 1 : tag] != "\n":
            raise BrokenReplyError(Failure.INVALID_ANSWER)
        end = tag - 1 if self.closed else len(self._written) - _overlap(self._written, (_END, ANSWER_CLOSE))
        self._body = self._written[:end]
        return self._release(final=self.closed)

    def cut(self) -> str:
        """End the answer here, whatever was still to come, and return the rest that may be delivered."""
        return "" if self.closed or self.stopped else self._release(final=True)

    @property
    def closed_text(self) -> str:
        """The answer with its tags, as if it ended here."""
        return f"{ANSWER_OPEN}\n{self._body}{_END}\n"

    def _release(self, *, final: bool) -> str:
        body = self._body
        if not self._opened:
            if not final and self._is_undecided(body):
                return ""
            if answer_violations(body, self._decision, self._toolkit):
                raise BrokenReplyError(Failure.INVALID_ANSWER)
            self._opened = True
        start = len(self.delivered)
        found = [at for stop in self._stop if (at := body.find(stop, start)) >= 0]
        if found:
            self.stopped = True
            body = body[: min(found)]
        elif not final:
            body = body[: len(body) - _overlap(body, self._stop)]
        self.delivered = body
        return body[start:]

    def _is_undecided(self, body: str) -> bool:
        """Whether more text could still make the opening agree or disagree with the decision."""
        decision = Decision.REFUSE if self._decision is Decision.ALLOW else self._decision
        openings = self._toolkit.openings[decision]
        return not body or (not body.startswith(openings) and any(opening.startswith(body) for opening in openings))


def _overlap(text: str, endings: tuple[str, ...]) -> int:
    """Length of the longest end of `text` with which one of the `endings` begins, the whole of it excepted."""
    longest = max((len(ending) for ending in endings), default=0)
    return next(
        (
            length
            for length in range(min(longest, len(text)), 0, -1)
            if any(length < len(ending) and ending.startswith(text[-length:]) for ending in endings)
        ),
        0,
    )
