"""The audit record: what is kept of a closed case.

Times are UTC; durations are whole microseconds and other fractions are text, because hashed JSON holds no fractions.
"""

from enum import StrEnum
from typing import Any, Literal

from safer_protocol.decision import Decision
from safer_protocol.frozen import Frozen
from safer_protocol.plan import Depth, Plan
from safer_protocol.prompt import Role
from safer_protocol.receipt import Claims, Hash, PartHash, canonical, digest
from safer_protocol.trace import Call
from safer_protocol.violation import Code
from safer_server.case import Modality, PartType, Subject
from safer_server.record import Failure, FinishReason, Outcome


class Content(StrEnum):
    """How much of what was said is kept; each keeps what the one before does."""

    NONE = "none"
    """The verdict and the plan."""
    HASHED = "hashed"
    """Hashes of texts, pictures, answer and trace."""
    REDACTED = "redacted"
    """The trace without its free texts."""
    FULL = "full"
    """All texts and pictures, and the whole trace."""


class RecordedPart(Frozen):
    """A text or picture; its hash is None where it was no readable picture, or hashes are not kept."""

    part: str
    type: PartType
    sha256: Hash | None
    text: str | None = None
    """Only in full: the text, or the URL of the picture, which holds its file."""


class RecordedTurn(Frozen):
    """Who said or showed what."""

    role: Role
    parts: tuple[RecordedPart, ...]


class RecordedUnjudged(Frozen):
    """A part that nobody looked at."""

    part: str
    type: PartType
    reason: str


class RecordedVerdict(Frozen):
    """A verdict and what it rests on; `trace` is None where only its hash, or nothing, is kept."""

    decision: Decision | None
    outcome: Outcome
    failure: Failure | None
    categories: tuple[str, ...]
    severity: str | None
    plan: Plan | None
    tools: tuple[str, ...]
    """The tools that the trace calls, in order."""
    trace: tuple[Call, ...] | None
    trace_sha256: Hash | None
    """Of the whole trace, free texts included."""
    valid: bool
    violations: tuple[Code, ...]


class RecordedTokens(Frozen):
    """Token counts."""

    prompt: int
    plan: int
    trace: int
    answer: int


class RecordedTimings(Frozen):
    """Microseconds."""

    queue: int
    plan: int | None
    trace: int | None
    decision: int | None
    answer: int | None
    total: int


class RecordedWishes(Frozen):
    """What the caller asked of the engine."""

    depth: Depth | None
    plan: Plan | None
    temperature: str
    top_p: str
    seed: str | None
    answer_tokens: int
    reply_tokens: int | None
    completion_tokens: int | None
    stop: tuple[str, ...] | None
    """Kept only in full."""
    answers: tuple[Decision, ...]
    """The decisions after which an answer was wanted."""


class AuditRecord(RecordedVerdict):
    """One case; the fields after the verdict say where it came from and what served it."""

    version: Literal[1] = 1
    trace_id: str
    time: str
    server: str
    """The server process: its start, and a random part."""
    request_id: str
    caller: str | None
    """The name of the key."""
    endpoint: str
    content: Content
    model: str
    checkpoint: str | None
    engine: str
    replica: str | None
    constraint: str | None
    upstream: str | None
    """The model behind, where it was to answer."""
    policy: str
    policy_hash: str
    protocol_hash: str
    subject: Subject
    modality: Modality
    is_check: bool
    finish_reason: FinishReason
    conversation: tuple[RecordedTurn, ...]
    judged: tuple[str, ...]
    unjudged: tuple[RecordedUnjudged, ...]
    answer: str | None
    """The answer or refusal; kept only in full."""
    answer_sha256: Hash | None
    tokens: RecordedTokens
    timings_us: RecordedTimings
    wishes: RecordedWishes
    reply: RecordedVerdict | None
    """The verdict on the reply of the model behind."""


def claims_of(record: AuditRecord) -> dict[str, Any]:
    """What the receipt of a record must say; the record itself is hashed by whoever has its bytes."""
    parts = (part for turn in record.conversation for part in turn.parts)
    return {
        **record.model_dump(include=_SHARED),
        "parts": tuple(PartHash(part=one.part, sha256=one.sha256) for one in parts if one.sha256 is not None),
        "plan": None if record.plan is None else digest(record.plan.model_dump(mode="json")),
        "trace": record.trace_sha256,
        "answer": record.answer_sha256,
        "reply": None if record.reply is None else digest(record.reply.model_dump(mode="json")),
    }


_SHARED = set(Claims.model_fields) & set(AuditRecord.model_fields) - {"plan", "trace", "answer", "reply"}


def written(record: AuditRecord) -> bytes:
    """Write a record as it is hashed and kept."""
    return canonical(record.model_dump(mode="json"))
