"""The ledger: what the guard has to remember of a case until it writes the record."""

import secrets
import time
from collections.abc import Mapping

from safer_protocol.decision import Decision
from safer_protocol.verify import Report, verify
from safer_server.answer import Answer
from safer_server.case import Case, Subject
from safer_server.draft import Draft, Section
from safer_server.engines.base import Origin, Piece
from safer_server.record import Failure, FinishReason, Outcome, Record, Timings, Tokens, finding_of, outcome_of

FAILED_TEXT = "I can't help with this request, because its safety check did not complete."
REFUSED_TEXTS: Mapping[Subject, str] = {
    "request": "I can't help with this request.",
    "reply": "I can't show this reply: it did not pass its safety check.",
}
"""The refusals where none was written: a check ends with its decision."""


class Ledger:
    """Tokens, times, and the state of one case.

    `cut` says that a token limit ended the reply, `report` is set by the final verification alone.
    """

    def __init__(self, case: Case, waited: float) -> None:
        self.case = case
        self.toolkit = case.policy.toolkit
        self.draft = Draft(self.toolkit)
        self.verdict: Report | None = None
        """What the verifier said of plan and trace, once they are complete."""
        self.answer: Answer | None = None
        self.report: Report | None = None
        self.failure: Failure | None = None
        self.started = False
        self.cut = False
        self._waited = waited
        self._prompt_tokens = 0
        self._written: dict[Section, int] = {"plan": 0, "trace": 0, "answer": 0}
        """Tokens of each section."""
        self._limited = False
        self._origin: Origin | None = None
        self._start = time.perf_counter()
        self._planned: float | None = None
        self._decided: float | None = None

    @property
    def decision(self) -> Decision | None:
        """The verified decision, once it is reached."""
        return None if self.verdict is None else self.verdict.decision

    @property
    def stopped(self) -> bool:
        """Whether a stop text ended the answer."""
        return self.answer is not None and self.answer.stopped

    @property
    def is_checked(self) -> bool:
        """Whether the decision is reached and no answer is wanted after it."""
        return self.decision is not None and self.decision not in self.case.answers

    @property
    def refuses(self) -> bool:
        """Whether the decision is to refuse, and is to be carried out."""
        return self.decision is Decision.REFUSE and self.case.policy.enforcement == "enforce"

    def charge(self, piece: Piece) -> None:
        """Count a piece before it is read; one that goes over the caller's limit is not counted but cuts the reply."""
        self.started = True
        self._origin = self._origin or piece.origin
        limit = self.case.completion_tokens
        if limit is not None and sum(self._written.values()) + piece.tokens > limit:
            self.cut = True
            return
        self._prompt_tokens = piece.prompt_tokens or self._prompt_tokens
        self._written[self.draft.section] += piece.tokens
        self._limited = piece.finish == "length"

    def mark(self) -> None:
        """Note when the plan, and when the trace, turned out to be finished."""
        now = time.perf_counter()
        if self._planned is None and self.draft.section != "plan":
            self._planned = now
        if self._decided is None and self.draft.section == "answer":
            self._decided = now

    def record(self) -> Record:
        """Close the case; without a valid final report it has failed closed."""
        draft, report = self.draft, self.report
        plan, trace = draft.plan, tuple(draft.calls)
        if self.failure is None and plan is not None and report is not None and report.decision is not None:
            decision, outcome = report.decision, outcome_of(report.decision, self.case.policy.enforcement)
            finding = finding_of(plan, trace)
        else:
            decision, outcome, finding = None, Outcome.FAILED_CLOSED, None
            self.failure = self.failure or Failure.INTERNAL
        delivered = self.answer.delivered if self.answer is not None else None
        refusals = {Outcome.FAILED_CLOSED: FAILED_TEXT, Outcome.REFUSED: delivered or REFUSED_TEXTS[self.case.subject]}
        return Record(
            trace_id=f"tr_{secrets.token_hex(16)}",
            outcome=outcome,
            decision=decision,
            failure=self.failure,
            plan=plan,
            trace=trace,
            report=report or verify(draft.text, self.toolkit),
            finding=finding,
            answer=None if outcome in refusals else delivered,
            refusal=refusals.get(outcome),
            finish_reason=self._finish_reason(outcome),
            coverage=self.case.coverage,
            modality=self.case.modality,
            subject=self.case.subject,
            is_check=self.is_checked,
            policy=self.case.policy,
            origin=self._origin,
            tokens=Tokens(prompt=self._prompt_tokens, **self._written),
            timings=self._timings(),
        )

    def _finish_reason(self, outcome: Outcome) -> FinishReason:
        if outcome in (Outcome.REFUSED, Outcome.FAILED_CLOSED):
            return "content_filter"
        complete = self.answer is None or self.answer.closed
        return "length" if not self.stopped and (self._limited or (self.cut and not complete)) else "stop"

    def _timings(self) -> Timings:
        def between(start: float | None, end: float | None) -> float | None:
            return None if start is None or end is None else round((end - start) * 1000, 3)

        now = time.perf_counter()
        arrived = self._start - self._waited
        return Timings(
            queue=round(self._waited * 1000, 3),
            plan=between(self._start, self._planned),
            trace=between(self._planned, self._decided),
            decision=between(arrived, self._decided),
            answer=None if self.answer is None else between(self._decided, now),
            total=round((now - arrived) * 1000, 3),
        )
