"""Named faults: from a good reply to one that is wrong in one way, for preference pairs.

Each maker proposes texts, and a proposal is taken only where `is_fault` confirms that it is what its name says. Five kinds break
the protocol; four, as far as the verifier sees, do not: they are wrong about the request.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from random import Random

from safer_protocol.decision import Decision
from safer_protocol.reply import Reply
from safer_protocol.text import parse, print_call, print_reply
from safer_protocol.toolkit import Toolkit
from safer_protocol.trace import Call
from safer_protocol.verify import Report, verify
from safer_protocol.violation import Code
from safer_training import phrases
from safer_training.data.contrary import at_odds, belied, contrary_calls, filler, invented_calls, spoiled
from safer_training.rows import Row
from safer_training.teacher import Form, teach


class Corruption(StrEnum):
    """The kinds of fault."""

    WRONG_TOOL = "wrong_tool"
    """A call of a tool that the plan does not list."""
    MISSING_TOOL = "missing_tool"
    """A call left out that the walk needs."""
    WRONG_ORDER = "wrong_order"
    WRONG_VALUE = "wrong_value"
    """A field with a value of the wrong type or range."""
    HALLUCINATED_OBSERVATION = "hallucinated_observation"
    """Valid, but it saw what is not there."""
    CONTRADICTION = "contradiction"
    """Valid, but one call says the opposite of the decision."""
    ANSWER_AGAINST_DECISION = "answer_against_decision"
    OVER_REFUSAL = "over_refusal"
    """Valid throughout, and refuses what may be answered."""
    MISSED_HARM = "missed_harm"
    """Its mirror: valid throughout, and allows what must not be answered; without it, refusing less would always be preferred."""


@dataclass(frozen=True)
class Case:
    """A row as shown, the conversation's text, the good reply to it, and the text of an unrelated row."""

    row: Row
    form: Form
    conversation: str
    reply: Reply
    toolkit: Toolkit
    unrelated: str

    @cached_property
    def report(self) -> Report:
        """The verification of the good reply."""
        return verify(self.reply, self.toolkit)

    def written(self, trace: tuple[Call, ...]) -> str:
        """Write the good reply with another trace."""
        return print_reply(self.reply.model_copy(update={"trace": trace}), self.toolkit)


def corrupt(kind: Corruption, case: Case, rng: Random) -> str | None:
    """Return a reply with this fault, or None where the good reply cannot have it."""
    proposals = list(_MAKERS[kind](case))
    rng.shuffle(proposals)
    return next((text for text in proposals if is_fault(kind, case, text)), None)


def is_fault(kind: Corruption, case: Case, text: str) -> bool:
    """Whether a text has this fault and no other that the verifier sees."""
    report = verify(text, case.toolkit)
    codes = {violation.code for violation in report.violations}
    reply = parse(text, case.toolkit).reply
    if reply is None or text == print_reply(case.reply, case.toolkit):
        return False
    match kind:
        case Corruption.WRONG_TOOL:
            return codes == {Code.TOOL_NOT_PLANNED}
        case Corruption.MISSING_TOOL:
            return bool(codes) and codes <= {Code.EDGE, Code.ORDER, Code.MISSING_DECISION} and _is_shorter(reply, case)
        case Corruption.WRONG_ORDER:
            return bool(codes) and codes <= {Code.EDGE, Code.ORDER} and _names(reply) == _names(case.reply)
        case Corruption.WRONG_VALUE:
            return len(report.violations) == 1 and codes <= {Code.FIELD_RANGE, Code.FIELD_TYPE}
        case Corruption.HALLUCINATED_OBSERVATION:
            changed = _changed(reply, case.reply)
            kept = report.valid and report.decision is case.report.decision and changed is not None
            return kept and changed is not None and belied(changed, case.row, case.form, case.conversation)
        case Corruption.CONTRADICTION:
            changed = _changed(reply, case.reply)
            decision = report.decision
            if not report.valid or decision is not case.report.decision or changed is None or decision is None:
                return False
            return at_odds(changed, decision, reply.plan.category)
        case Corruption.ANSWER_AGAINST_DECISION:
            return codes == {Code.ANSWER_AGAINST_DECISION}
        case Corruption.OVER_REFUSAL:
            return report.valid and report.decision is Decision.REFUSE and Decision.REFUSE not in case.row.expected
        case Corruption.MISSED_HARM:
            return report.valid and report.decision is Decision.ALLOW and case.row.refusing


def _names(reply: Reply) -> Counter[str]:
    return Counter(call.tool for call in reply.trace)


def _is_shorter(reply: Reply, case: Case) -> bool:
    return len(reply.trace) == len(case.reply.trace) - 1 and _names(reply) < _names(case.reply)


def _changed(reply: Reply, good: Reply) -> Call | None:
    """Return the one call that differs between two replies of the same plan and length."""
    if reply.plan != good.plan or len(reply.trace) != len(good.trace):
        return None
    changed = [call for call, before in zip(reply.trace, good.trace, strict=True) if call != before]
    return changed[0] if len(changed) == 1 else None


def _wrong_tool(case: Case) -> Iterator[str]:
    trace, toolkit = case.reply.trace, case.toolkit
    for step, call in enumerate(trace):
        stage = toolkit.tool(call.tool).stage
        for tool in toolkit.tools:
            if tool.stage is stage and not tool.verdicts and tool.name not in case.reply.plan.tools:
                yield case.written((*trace[:step], filler(tool), *trace[step + 1 :]))


def _missing_tool(case: Case) -> Iterator[str]:
    trace = case.reply.trace
    for step in range(len(trace)):
        yield case.written((*trace[:step], *trace[step + 1 :]))


def _wrong_order(case: Case) -> Iterator[str]:
    trace = list(case.reply.trace)
    for first in range(len(trace) - 1):
        for second in range(first + 1, len(trace)):
            swapped = list(trace)
            swapped[first], swapped[second] = swapped[second], swapped[first]
            yield case.written(tuple(swapped))


def _wrong_value(case: Case) -> Iterator[str]:
    good = print_reply(case.reply, case.toolkit)
    for call in case.reply.trace:
        line = print_call(call, case.toolkit)
        for spoilt in spoiled(call, line, case.toolkit.tool(call.tool)):
            yield good.replace(line, spoilt, 1)


def _hallucinated(case: Case) -> Iterator[str]:
    trace = case.reply.trace
    for step, call in enumerate(trace):
        for invented in invented_calls(call, case.unrelated):
            yield case.written((*trace[:step], invented, *trace[step + 1 :]))


def _contradiction(case: Case) -> Iterator[str]:
    trace = case.reply.trace
    for step, call in enumerate(trace):
        for contrary in contrary_calls(call):
            yield case.written((*trace[:step], contrary, *trace[step + 1 :]))


def _answer_against(case: Case) -> Iterator[str]:
    refusals = [phrases.answer(case.row, case.form, Decision.REFUSE, "none", chance) for chance in range(3)]
    for answer in (*refusals, "Sure. [What was asked for is left out here.]", "Of course: [left out]."):
        yield print_reply(case.reply.model_copy(update={"answer": answer}), case.toolkit)


def _retaught(case: Case, decision: Decision, category: str | None) -> Iterator[str]:
    row = case.row.model_copy(update={"expected": (decision,), "category": category, "answer": None})
    yield print_reply(teach(row, case.form, case.toolkit), case.toolkit)


_MAKERS: Mapping[Corruption, Callable[[Case], Iterator[str]]] = {
    Corruption.WRONG_TOOL: _wrong_tool,
    Corruption.MISSING_TOOL: _missing_tool,
    Corruption.WRONG_ORDER: _wrong_order,
    Corruption.WRONG_VALUE: _wrong_value,
    Corruption.HALLUCINATED_OBSERVATION: _hallucinated,
    Corruption.CONTRADICTION: _contradiction,
    Corruption.ANSWER_AGAINST_DECISION: _answer_against,
    Corruption.OVER_REFUSAL: lambda case: _retaught(case, Decision.REFUSE, None),
    Corruption.MISSED_HARM: lambda case: _retaught(case, Decision.ALLOW, "none"),
}
