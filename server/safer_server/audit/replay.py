"""Replay: a case that was recorded in full is judged again, and what comes out differently is told."""

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import zip_longest

from safer_protocol.plan import Plan
from safer_protocol.trace import Call
from safer_server.audit.record import AuditRecord, Content
from safer_server.case import Case
from safer_server.conversation import Said, Utterance
from safer_server.engines.base import Constraint, ContextLengthError, Sampling
from safer_server.events import Finished
from safer_server.guard import Guard
from safer_server.intake import Intake, Submission
from safer_server.policies import Policies
from safer_server.record import Record


class ReplayError(Exception):
    """A record that cannot be replayed; the message says why."""


@dataclass(frozen=True)
class Difference:
    """Where the two disagree, and what each says there."""

    where: str
    recorded: str
    replayed: str


async def replay(record: AuditRecord, intake: Intake, guard: Guard) -> list[Difference]:
    """Judge the request of a record again and compare. Raise `ReplayError`, or the `ApiError` that refuses a picture."""
    submission = submission_of(record, intake.policies)
    case: Case | None = await intake.case(submission)
    while case is not None:
        try:
            return list(differences(record, await _judged(case, guard)))
        except ContextLengthError:
            case = case.without_oldest() if case.policy.unjudged == "allow" else None
    raise ReplayError("the conversation is longer than the model can read")


async def _judged(case: Case, guard: Guard) -> Record:
    async with aclosing(guard.judge(case)) as events:
        async for event in events:
            if isinstance(event, Finished):
                return event.record
    raise RuntimeError("a case ended without a record")


def submission_of(record: AuditRecord, policies: Policies) -> Submission:
    """Make the request again. Raise `ReplayError`."""
    if record.content is not Content.FULL:
        raise ReplayError(f"it was recorded with SAFER_AUDIT_CONTENT={record.content}, and a replay needs full")
    policy, wishes = policies.get(record.policy), record.wishes
    if policy is None:
        raise ReplayError(f"the policy {record.policy} is not at hand: SAFER_POLICIES")
    return Submission(
        conversation=tuple(
            Utterance(turn.role, tuple(Said(part.part, part.type, part.text or "") for part in turn.parts))
            for turn in record.conversation
        ),
        policy=policy,
        constraint=Constraint(depth=wishes.depth, plan=wishes.plan),
        answers=wishes.answers,
        sampling=Sampling(
            temperature=float(wishes.temperature),
            top_p=float(wishes.top_p),
            seed=None if wishes.seed is None else int(wishes.seed),
            answer_tokens=wishes.answer_tokens,
            reply_tokens=wishes.reply_tokens,
        ),
        completion_tokens=wishes.completion_tokens,
        stop=wishes.stop or (),
        skips_pictures=record.endpoint == "litellm",
    )


def differences(record: AuditRecord, again: Record) -> Iterator[Difference]:
    """Name what differs: in what they were judged with, in the plan, step by step, and in the decision."""
    pairs: list[tuple[str, object, object]] = [
        ("policy_hash", record.policy_hash, again.policy.policy_hash),
        ("protocol_hash", record.protocol_hash, again.policy.protocol_hash),
    ]
    pairs += [
        (f"plan.{key}", getattr(record.plan, key, None), getattr(again.plan, key, None)) for key in Plan.model_fields
    ]
    steps = zip_longest(record.trace or (), again.trace)
    pairs += [(f"trace[{number}]", _step(before), _step(now)) for number, (before, now) in enumerate(steps)]
    # Where another model answered, its fault may have ended a case that was decided before.
    if record.upstream is None or record.failure is None:
        pairs += [("decision", record.decision, again.decision), ("failure", record.failure, again.failure)]
    for where, before, now in pairs:
        if before != now:
            yield Difference(where, _text(before), _text(now))


def _step(call: Call | None) -> str | None:
    """Write a call so that the order of its fields, which JSON does not keep, makes no difference."""
    return None if call is None else f"{call.tool} " + "; ".join(f"{k}={v}" for k, v in sorted(call.fields.items()))


def _text(value: object) -> str:
    match value:
        case None:
            return "-"
        case tuple():
            return ", ".join(map(str, value))
        case _:
            return str(value)
