"""The teacher: from a row's labels and facts to a whole verified reply, by rule and always the same.

Category and risk stand first in a plan, so they are where a decision is learnt; the rest follows from them and from what the
request consists of. Texts are phrases of the request or short sentences of our own.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from safer_protocol.categories import CATEGORY_WORDS
from safer_protocol.decision import Decision, Risk
from safer_protocol.fields import Value, count_runs
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.reply import Reply
from safer_protocol.toolkit import Toolkit
from safer_protocol.trace import Call
from safer_protocol.verify import verify
from safer_training import phrases
from safer_training.hazards import hazard_of
from safer_training.rows import Row

Form = Literal["text", "typographic", "photo", "dialogue", "earlier", "quoted", "system", "reply"]
"""Where the request stands: in the last message, in a picture, beside one, at the end of a conversation, one turn earlier, in a
quoted document, in the system message; or a reply to it is what is judged."""

_CRITICAL = frozenset({"violent_crimes", "indiscriminate_weapons", "child_exploitation", "sex_crimes"})
_ADVICE = frozenset({"specialized_advice", "self_harm"})
_CHARACTERS_A_TOKEN = 2.6  # of English in a vocabulary of 4,096, on the safe side


@dataclass(frozen=True)
class Judgement:
    """What the labels of a row say in the protocol's words."""

    decision: Decision
    category: str
    risk: Risk


def judge(row: Row) -> Judgement:
    """Map a row's labels to decision, category and risk; where several decisions count as right, the first apt one."""
    first = row.expected[0]
    if first is Decision.CLARIFY:
        return Judgement(first, "none", Risk.LOW)
    named = row.category if row.category in CATEGORY_WORDS else None
    hazard = named or hazard_of(row.category, row.text)
    if Decision.ALLOW in row.expected and hazard not in _ADVICE:
        return Judgement(Decision.ALLOW, "none", Risk.NONE)
    if Decision.ALLOW in row.expected:
        if first is Decision.ALLOW:
            return Judgement(Decision.ALLOW, "none", Risk.NONE)
        return Judgement(Decision.SAFE_COMPLETE, "specialized_advice", Risk.MEDIUM)
    if Decision.SAFE_COMPLETE in row.expected and hazard == "self_harm":
        return Judgement(Decision.SAFE_COMPLETE, hazard, Risk.HIGH)
    if hazard == "none":
        hazard = hazard_of(None, row.text)
    # At high risk, self-harm means care; what promotes it is refused.
    return Judgement(Decision.REFUSE, hazard, Risk.CRITICAL if hazard in _CRITICAL | {"self_harm"} else Risk.HIGH)


def decision_of(category: str, risk: str) -> Decision:
    """Return the decision that the teacher always reaches from a plan's first two words; inverts `judge`."""
    match category, risk:
        case "none", "none":
            return Decision.ALLOW
        case "none", _:
            return Decision.CLARIFY
        case (("specialized_advice" | "self_harm"), ("none" | "low" | "medium")):
            return Decision.SAFE_COMPLETE
        case "self_harm", "high":
            return Decision.SAFE_COMPLETE
    return Decision.REFUSE


def teach(row: Row, form: Form, toolkit: Toolkit, depth: Depth | None = None) -> Reply:
    """Write the reply to a row shown in a form; it verifies clean, or AssertionError is raised."""
    case = _Case(row, form, judge(row), _chance(row.uid))
    plan = case.plan(depth or case.depth())
    trace = tuple(Call(tool=name, fields=case.fields(name, plan)) for name in case.walk(plan))
    reply = Reply(plan=plan, trace=trace, answer=phrases.answer(row, form, case.verdict, case.category, case.chance))
    report = verify(reply, toolkit)
    if not report.valid or report.decision is not case.verdict:
        raise AssertionError(f"the teacher's reply to {row.uid} does not verify: {report.violations}")
    return reply


def _chance(uid: str) -> int:
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:6], "big")


def clip(text: str, tokens: int) -> str:
    """Return the first words of a text that surely fit a budget of tokens, without characters that a text field excludes."""
    kept = ""
    for word in text.replace('"', "'").replace("\\", "/").replace("<", "(").split():
        longer = f"{kept} {word}".strip()
        if (
            not longer.isprintable()
            or count_runs(longer) > tokens
            or len(longer.encode()) > tokens * _CHARACTERS_A_TOKEN
        ):
            break
        kept = longer
    return kept


@dataclass(frozen=True)
class _Case:
    row: Row
    form: Form
    judgement: Judgement
    chance: int

    @property
    def category(self) -> str:
        return self.judgement.category

    @property
    def verdict(self) -> Decision:
        return self.judgement.decision

    def depth(self) -> Depth:
        return (Depth.STANDARD, Depth.STANDARD, Depth.STANDARD, Depth.BRIEF, Depth.FULL)[self.chance % 5]

    def plan(self, depth: Depth) -> Plan:
        topology = self.topology()
        front, middle, back = self.perception(), self.reasoning(), self.decision_tools()
        spare = depth.max_calls - 2 - (topology is Topology.SHIELD)
        # Every stage keeps its first tool; the others go, last stage first, until the plan fits.
        while len(front) + len(middle) + len(back) > spare + 1:
            longest = back if back else middle if len(middle) > 1 else front
            longest.pop()
        gates = ["ENTRY-GATE"] if topology is Topology.SHIELD else []
        return Plan(
            category=self.category,
            risk=self.judgement.risk,
            persona=self.persona(),
            topology=topology,
            depth=depth,
            tools=(*gates, *front, *middle, *back, "SAFETY-GATE"),
        )

    def topology(self) -> Topology:
        if self.category == "jailbreak" or (
            self.category in _CRITICAL and self.form == "text" and self.chance % 3 == 0
        ):
            return Topology.SHIELD
        if self.form in ("dialogue", "earlier"):
            return Topology.LOOP
        if self.verdict in (Decision.SAFE_COMPLETE, Decision.CLARIFY):
            return Topology.TREE
        if self.verdict is Decision.REFUSE or self.form != "text":
            return Topology.MESH
        return Topology.LINEAR

    def persona(self) -> str:
        match self.verdict:
            case Decision.REFUSE:
                return "mediator" if self.category in ("hate", "defamation", "elections") else "guardian"
            case Decision.SAFE_COMPLETE:
                return "counselor" if self.category == "self_harm" else "educator"
            case Decision.CLARIFY:
                return "assistant"
        return phrases.persona_for(self.row.text)

    def perception(self) -> list[str]:
        match self.form:
            case "typographic":
                return ["OCR-EXTRACT", "LAYOUT-PARSE"]
            case "photo":
                return ["VISUAL-SCAN", "CROSS-MODAL-SYNC"]
            case "dialogue" | "earlier" | "reply":
                return ["CONTEXT-RECALL", "KEYWORD-FLAGGING"]
            case "quoted" | "system":
                return ["QUOTE-TRACE", "KEYWORD-FLAGGING"]
            case "text":
                return ["KEYWORD-FLAGGING"] if self.category != "jailbreak" else ["QUOTE-TRACE", "KEYWORD-FLAGGING"]

    def reasoning(self) -> list[str]:
        match self.category:
            case "none":
                return ["INTENT-RADAR", "BENIGN-READING"] if phrases.alarming(self.row.text) else ["INTENT-RADAR"]
            case "jailbreak":
                return ["JAILBREAK-SENTINEL", "RISK-SCORER"]
            case "self_harm":
                return ["DISTRESS-SENSE", "RISK-SCORER"]
            case "specialized_advice":
                return ["EXPERTISE-BOUNDARY", "RISK-SCORER"]
            case "code_abuse" | "intellectual_property" | "privacy":
                return ["INTENT-RADAR", "RISK-SCORER", "DUAL-USE-CHECK"]
            case "hate" | "defamation" | "elections" | "sexual_content":
                return ["INTENT-RADAR", "RISK-SCORER", "POLICY-MATCH"]
        return ["INTENT-RADAR", "RISK-SCORER", "HARM-FORECAST"]

    def decision_tools(self) -> list[str]:
        match self.verdict:
            case Decision.REFUSE:
                return ["REFUSAL-GENERATOR"]
            case Decision.CLARIFY:
                return ["CLARIFY-PROMPT"]
            case Decision.SAFE_COMPLETE:
                return ["SUPPORT-ROUTER", "CAUTION-WRITER"] if self.category == "self_harm" else ["CAUTION-WRITER"]
        return []

    def walk(self, plan: Plan) -> tuple[str, ...]:
        match plan.topology:
            case Topology.SHIELD if self.category == "jailbreak":
                return ("ENTRY-GATE",)
            case Topology.TREE:
                return self._branch(plan)
            case Topology.LOOP if plan.depth == Depth.FULL and len(plan.tools) <= 7:
                return self._looped(plan)
        return plan.tools

    def _branch(self, plan: Plan) -> tuple[str, ...]:
        front = [name for name in plan.tools if name in self.perception()]
        middle = [name for name in plan.tools if name in self.reasoning()]
        back = [name for name in plan.tools if name in self.decision_tools()]
        return (*front[:2], middle[0], *back[:1], "SAFETY-GATE")

    def _looped(self, plan: Plan) -> tuple[str, ...]:
        """The walk that looks at the conversation a second time after a first judgement of the intent."""
        names = list(plan.tools)
        first = next(index for index, name in enumerate(names) if name in self.reasoning())
        return (*names[: first + 1], names[first - 1], *names[first:])

    def fields(self, name: str, plan: Plan) -> dict[str, Value]:
        values = phrases.fields(
            name, self.row, self.form, self.category, self.judgement.risk, self.verdict, self.chance
        )
        scale = Depth(plan.depth).scale
        return {key: self._fit(name, key, value, scale) for key, value in values.items()}

    def _fit(self, name: str, key: str, value: Value, scale: float) -> Value:
        tokens = int(phrases.BUDGETS.get((name, key), 0) * scale)
        match value:
            case str() if tokens:
                return clip(value, tokens)
            case tuple():
                return tuple(text for text in (clip(item, tokens) for item in value) if text)
        return value
