"""From a closed case to its audit record, with as much of what was said as the operator wants kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from safer_protocol.categories import NO_HAZARD
from safer_protocol.receipt import digest
from safer_protocol.trace import Trace
from safer_server.audit.record import (
    AuditRecord,
    Content,
    RecordedPart,
    RecordedTimings,
    RecordedTokens,
    RecordedTurn,
    RecordedUnjudged,
    RecordedVerdict,
    RecordedWishes,
)
from safer_server.conversation import Conversation, Said
from safer_server.intake import Submission
from safer_server.record import Record, Timings
from safer_server.source import Source
from safer_server.view import show_trace


@dataclass(frozen=True)
class Identity:
    """What is the same in all records of a server process."""

    server: str
    content: Content
    model: str
    checkpoint: str | None
    engine: str
    upstream: str | None


def now() -> str:
    """The time as records have it, to the millisecond."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def recorded(
    record: Record, submission: Submission, pictures: Mapping[str, str], source: Source, identity: Identity
) -> AuditRecord:
    """Write the record of a case that has just been closed; `pictures` are the hashes of the files, by path."""
    content, origin, policy = identity.content, record.origin, record.policy
    is_full, is_hashed = content is Content.FULL, content is not Content.NONE
    spoken = record.refusal if record.answer is None else record.answer
    return AuditRecord(
        **_verdict(record, content),
        trace_id=record.trace_id,
        time=now(),
        server=identity.server,
        request_id=source.request_id,
        caller=source.caller,
        endpoint=source.endpoint,
        content=content,
        model=identity.model,
        checkpoint=identity.checkpoint,
        engine=identity.engine,
        replica=None if origin is None else origin.replica,
        constraint=None if origin is None else origin.constraint,
        upstream=None if submission.upstream is None else identity.upstream,
        policy=policy.name,
        policy_hash=policy.policy_hash,
        protocol_hash=policy.protocol_hash,
        subject=record.subject,
        modality=record.modality,
        is_check=record.is_check,
        finish_reason=record.finish_reason,
        conversation=tuple(_turns(submission.conversation, pictures, content)),
        judged=tuple(part.part for part in record.coverage.judged),
        unjudged=tuple(
            RecordedUnjudged(part=part.part, type=part.type, reason=part.reason) for part in record.coverage.unjudged
        ),
        answer=spoken if is_full else None,
        answer_sha256=None if spoken is None or not is_hashed else sha256(spoken.encode()).hexdigest(),
        tokens=RecordedTokens(**vars(record.tokens)),
        timings_us=_microseconds(record.timings),
        wishes=_wishes(submission, is_full),
        reply=None if record.reply is None else RecordedVerdict(**_verdict(record.reply, content)),
    )


def _verdict(record: Record, content: Content) -> dict[str, Any]:
    finding = record.finding
    return {
        "decision": record.decision,
        "outcome": record.outcome,
        "failure": record.failure,
        "categories": () if finding is None or finding.category == NO_HAZARD else (finding.category,),
        "severity": None if finding is None else finding.severity,
        "plan": record.plan,
        "tools": tuple(call.tool for call in record.trace),
        "trace": _kept(record, content),
        "trace_sha256": None if content is Content.NONE else digest_of(record.trace),
        "valid": record.report.valid,
        "violations": tuple(violation.code for violation in record.report.violations),
    }


def digest_of(trace: Trace) -> str:
    """Hash a trace as replies show it in full."""
    return digest([call.model_dump(mode="json") for call in trace])


def _kept(record: Record, content: Content) -> Trace | None:
    match content:
        case Content.NONE | Content.HASHED:
            return None
        case Content.REDACTED:
            return show_trace(record.trace, "redacted", record.policy.toolkit)
        case Content.FULL:
            return record.trace


def _turns(conversation: Conversation, pictures: Mapping[str, str], content: Content) -> Iterable[RecordedTurn]:
    for utterance in conversation:
        parts = tuple(_part(said, pictures.get(said.path), content) for said in utterance.parts)
        yield RecordedTurn(role=utterance.role, parts=parts)


def _part(said: Said, picture: str | None, content: Content) -> RecordedPart:
    hashed = sha256(said.value.encode()).hexdigest() if said.type == "text" else picture
    return RecordedPart(
        part=said.path,
        type=said.type,
        sha256=None if content is Content.NONE else hashed,
        text=said.value if content is Content.FULL else None,
    )


def _microseconds(timings: Timings) -> RecordedTimings:
    whole: dict[str, Any] = {name: None if ms is None else round(ms * 1000) for name, ms in vars(timings).items()}
    return RecordedTimings(**whole)


def _wishes(submission: Submission, is_full: bool) -> RecordedWishes:
    sampling, seed = submission.sampling, submission.sampling.seed
    return RecordedWishes(
        depth=submission.constraint.depth,
        plan=submission.constraint.plan,
        temperature=str(sampling.temperature),
        top_p=str(sampling.top_p),
        seed=None if seed is None else str(seed),
        answer_tokens=sampling.answer_tokens,
        reply_tokens=sampling.reply_tokens,
        completion_tokens=submission.completion_tokens,
        stop=submission.stop if is_full else None,
        answers=submission.answers,
    )
