"""The vendor object `safer` out of a record: how a reply or verdict came about, as far as the caller may see it."""

from typing import Any

from safer_protocol.categories import NO_HAZARD
from safer_protocol.reply import Reply
from safer_protocol.text import print_reply
from safer_server.record import Record
from safer_server.view import View, show_plan, show_trace, show_violations
from safer_server.wire.response import ReplyVerdict, Safer, Verification


def safer_of(record: Record, view: View) -> Safer:
    """Write the account of a case."""
    return Safer(
        trace_id=record.trace_id,
        protocol_hash=record.policy.protocol_hash,
        policy=record.policy.name,
        policy_hash=record.policy.policy_hash,
        constraint=None if record.origin is None else record.origin.constraint,
        coverage=record.coverage,
        timings_ms=record.timings,
        reply=None if record.reply is None else ReplyVerdict(**_verdict(record.reply, view)),
        receipt=record.receipt,
        **_verdict(record, view),
    )


def reasoning_of(record: Record, view: View) -> str | None:
    """Write plan and trace of a verified decision as text."""
    plan = show_plan(record.plan, view)
    if plan is None or record.decision is None:
        return None
    toolkit = record.policy.toolkit
    return print_reply(Reply(plan=plan, trace=show_trace(record.trace, view, toolkit), answer=None), toolkit)


def _verdict(record: Record, view: View) -> dict[str, Any]:
    finding = record.finding
    return {
        "plan": show_plan(record.plan, view),
        "trace": show_trace(record.trace, view, record.policy.toolkit),
        "decision": record.decision,
        "outcome": record.outcome,
        "failure": record.failure,
        "categories": () if finding is None or finding.category == NO_HAZARD else (finding.category,),
        "severity": None if finding is None else finding.severity,
        "verification": Verification(
            valid=record.report.valid, violations=show_violations(record.report, view, record.policy.toolkit)
        ),
    }
