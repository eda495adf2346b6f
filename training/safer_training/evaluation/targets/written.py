"""Replies that are one text: the wire form of the protocol, or a model's free words with or without its thinking."""

from functools import reduce
from typing import Any

from safer_protocol.decision import Decision, Risk
from safer_protocol.plan import Plan
from safer_protocol.text import ANSWER_CLOSE, ANSWER_OPEN, PLAN_OPEN, parse
from safer_protocol.toolkit import Toolkit
from safer_protocol.trace import Standing, Trace, score_of
from safer_protocol.verify import verify
from safer_training.evaluation.declining import decision_of

_THOUGHTS = (("<think>", "</think>"), ("<thinking>", "</thinking>"))
_RISKS = {risk: step / (len(Risk) - 1) for step, risk in enumerate(Risk)}


def is_protocol(text: str) -> bool:
    """Whether a text means to be in the wire form."""
    return text.lstrip().startswith(PLAN_OPEN)


def of_protocol(text: str, toolkit: Toolkit) -> dict[str, Any]:
    """Read the wire form into fields of a reply, as far as it goes; the verifier says whether it is valid."""
    report, parsed = verify(text, toolkit), parse(text, toolkit).reply
    trace, _, rest = text.partition(f"{ANSWER_OPEN}\n")
    answer = rest.partition(f"\n{ANSWER_CLOSE}")[0] or None
    refused = report.decision is Decision.REFUSE
    return {
        "trace": trace or None,
        "answer": None if refused else answer,
        "refusal": answer if refused else None,
        "decision": report.decision,
        "valid": report.valid,
        "risk": None if parsed is None else risk_of(parsed.plan, parsed.trace),
    }


def of_words(content: str, thinking: str, refusal: str | None, finish_reason: str | None) -> dict[str, Any]:
    """Read a model's own words into fields of a reply."""
    within, answer = split_thinking(content)
    return {
        "trace": "\n".join(part for part in (thinking, within) if part) or None,
        "answer": answer or None,
        "refusal": refusal or None,
        "decision": decision_of(answer, refusal, finish_reason),
    }


def split_thinking(content: str) -> tuple[str, str]:
    """Part thinking between tags at the beginning from the answer, which has none before the closing tag."""
    text = content.lstrip()
    for opening, closing in _THOUGHTS:
        if text.startswith(opening):
            within, _, after = text.removeprefix(opening).partition(closing)
            after = after.strip().removeprefix(ANSWER_OPEN).removesuffix(ANSWER_CLOSE)
            return within.strip(), after.strip()
    return "", content


def risk_of(plan: Plan, trace: Trace) -> float:
    """How harmful a trace holds the request to be: the last score that came with a level, else the risk in force, in five steps."""
    score = score_of(trace)
    if score is not None:
        return score
    standing = reduce(Standing.after, trace, Standing(plan.risk, plan.category))
    return _RISKS[Risk(standing.risk)] if standing.risk in tuple(Risk) else 0.0
