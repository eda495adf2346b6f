"""The record of a case: the one account that responses, metrics and audit are written from."""

from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from typing import Literal

from safer_protocol.categories import NO_HAZARD
from safer_protocol.decision import Decision
from safer_protocol.plan import Plan
from safer_protocol.policy import Enforcement, Policy
from safer_protocol.receipt import Receipt
from safer_protocol.trace import Standing, Trace, score_of
from safer_protocol.verify import Report
from safer_server.case import Coverage, Modality, Subject
from safer_server.engines.base import Origin

FinishReason = Literal["stop", "length", "content_filter"]


class Outcome(StrEnum):
    """How a case ended, in the one word that metrics, audit and logs share."""

    ANSWERED = "answered"
    SAFE_COMPLETED = "safe_completed"
    REFUSED = "refused"
    CLARIFIED = "clarified"
    FAILED_CLOSED = "failed_closed"
    WOULD_REFUSE = "would_refuse"
    """Decided to refuse, under a policy that only watches."""


class Failure(StrEnum):
    """Why a case failed closed."""

    INVALID_TRACE = "invalid_trace"
    INVALID_ANSWER = "invalid_answer"
    UNFINISHED = "unfinished"
    NOT_AS_ASKED = "not_as_asked"
    TOKEN_LIMIT = "token_limit"
    TOO_LONG = "too_long"
    TIMEOUT = "timeout"
    UNJUDGED = "unjudged"
    ENGINE_FAULT = "engine_fault"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    UPSTREAM_FAULT = "upstream_fault"
    UPSTREAM_REJECTED = "upstream_rejected"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Tokens:
    """How many tokens the prompt and each section of the reply have."""

    prompt: int = 0
    plan: int = 0
    trace: int = 0
    answer: int = 0

    def __add__(self, other: "Tokens") -> "Tokens":
        """Sum each kind."""
        return Tokens(
            self.prompt + other.prompt, self.plan + other.plan, self.trace + other.trace, self.answer + other.answer
        )


@dataclass(frozen=True)
class Timings:
    """Milliseconds: waiting, writing the plan, the trace and the answer; from arrival to the decision and to the end."""

    queue: float = 0.0
    plan: float | None = None
    trace: float | None = None
    decision: float | None = None
    answer: float | None = None
    total: float = 0.0


@dataclass(frozen=True)
class Finding:
    """What a trace holds a conversation to be: its hazard, how severe, and the trace's own score of it, if it gave one."""

    category: str
    severity: str
    score: float | None


@dataclass(frozen=True)
class Record:
    """A closed case.

    Of `answer` and `refusal` at most one is set; neither is where a check refuses nothing. `decision` and `finding` are None, and
    `failure` is not, where it failed closed; plan and trace are then what had been found sound before.
    """

    trace_id: str
    outcome: Outcome
    decision: Decision | None
    failure: Failure | None
    plan: Plan | None
    trace: Trace
    report: Report
    finding: Finding | None
    answer: str | None
    refusal: str | None
    finish_reason: FinishReason
    coverage: Coverage
    modality: Modality
    subject: Subject
    is_check: bool
    """Whether no answer was wanted after this decision."""
    policy: Policy
    origin: Origin | None
    """Which replica wrote it, under which constraint; None where none had begun to."""
    tokens: Tokens
    timings: Timings
    reply: "Record | None" = None
    """How the reply of another model was judged, where one was asked."""
    receipt: Receipt | None = None
    """What the server signed about it, where it keeps an audit log."""

    @property
    def allowed(self) -> bool:
        """Whether what was judged may go on its way."""
        return self.outcome not in (Outcome.REFUSED, Outcome.FAILED_CLOSED)


def outcome_of(decision: Decision, enforcement: Enforcement = "enforce") -> Outcome:
    """Name the outcome of a verified decision; for a check it is what the decision would lead to."""
    match decision:
        case Decision.ALLOW:
            return Outcome.ANSWERED
        case Decision.SAFE_COMPLETE:
            return Outcome.SAFE_COMPLETED
        case Decision.REFUSE:
            return Outcome.WOULD_REFUSE if enforcement == "shadow" else Outcome.REFUSED
        case Decision.CLARIFY:
            return Outcome.CLARIFIED


def finding_of(plan: Plan, trace: Trace) -> Finding:
    """Read category, risk and score in force at the end of a valid trace: the plan's guess, unless a call replaced it."""
    standing = reduce(Standing.after, trace, Standing(plan.risk, plan.category))
    return Finding(standing.category, standing.risk, None if standing.category == NO_HAZARD else score_of(trace))


class BrokenReplyError(Exception):
    """The reply cannot be delivered: the case fails closed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure
