"""A script that decides by marker words in the user's last message, so that demonstrations need no model.

Pictures are counted and not looked at. A plan or depth that the caller fixed is followed, whatever the plan.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from safer_protocol.categories import NO_HAZARD
from safer_protocol.decision import PROCEED, Decision, Risk
from safer_protocol.fields import Choice, Field, Flag, Level, Score, Text, Texts, Value
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.prompt import ImagePart
from safer_protocol.reply import Reply
from safer_protocol.toolkit import Toolkit
from safer_protocol.topology import ends_walk, graph, plan_menu
from safer_protocol.trace import Call, Standing
from safer_server.engines.base import EngineRequest


@dataclass(frozen=True)
class Ruling:
    """What a marker word stands for."""

    decision: Decision
    category: str
    risk: Risk
    intent: str
    persona: str


HARMLESS = Ruling(Decision.ALLOW, NO_HAZARD, Risk.NONE, "benign", "assistant")

MARKERS: Mapping[str, Ruling] = MappingProxyType(
    {
        "weapon": Ruling(Decision.REFUSE, "indiscriminate_weapons", Risk.CRITICAL, "harmful", "guardian"),
        "steal": Ruling(Decision.REFUSE, "nonviolent_crimes", Risk.HIGH, "harmful", "guardian"),
        "hack": Ruling(Decision.REFUSE, "code_abuse", Risk.HIGH, "harmful", "guardian"),
        "medicine": Ruling(Decision.SAFE_COMPLETE, "specialized_advice", Risk.MEDIUM, "sensitive", "counselor"),
        "unclear": Ruling(Decision.CLARIFY, NO_HAZARD, Risk.LOW, "ambiguous", "assistant"),
    }
)

_REST = {
    Decision.ALLOW: "This is a scripted answer: no model was asked.",
    Decision.SAFE_COMPLETE: ": please ask a professional for the rest.",
    Decision.REFUSE: " this. I am glad to help with something safe instead.",
    Decision.CLARIFY: " what you want to do?",
}
_NOTE = "scripted"
_FIRST_TOOLS = ("KEYWORD-FLAGGING", "INTENT-RADAR", "RISK-SCORER", "SAFETY-GATE")
_PICTURE_TOOLS = ("OCR-EXTRACT", *_FIRST_TOOLS[1:])


def by_markers(request: EngineRequest) -> Reply:
    """Plan, trace and answer by the first marker word of the user's last message."""
    last = request.turns[-1]
    words = re.findall(r"[a-z]+", last.text.lower())
    ruling = next((MARKERS[word] for word in words if word in MARKERS), HARMLESS)
    pictured = any(isinstance(part, ImagePart) for part in last.parts)
    depth = request.constraint.depth or Depth.STANDARD
    plan = request.constraint.plan or _plan(request.toolkit, ruling, depth, pictured)
    trace, decision = _walk(request.toolkit, plan, ruling)
    opening = next(iter(request.toolkit.openings[decision]), "")
    return Reply(plan=plan, trace=trace, answer=opening + _REST[decision])


def _plan(toolkit: Toolkit, ruling: Ruling, depth: Depth, pictured: bool) -> Plan:
    """List the usual tools, or in a toolkit that lacks one of them the first that may stand there."""
    wanted = _PICTURE_TOOLS if pictured else _FIRST_TOOLS
    head = {"category": ruling.category, "risk": ruling.risk, "persona": ruling.persona, "topology": Topology.MESH}
    known = {key: word if word in (words := toolkit.head_words(key)) else words[-1] for key, word in head.items()}
    tools: list[str] = []
    while not (menu := plan_menu(toolkit, Topology(known["topology"]), depth, tools)).may_end:
        usual = [name for name in wanted if name in menu.tools and name not in tools]
        last = [name for name in menu.tools if len(tools) > 1 and toolkit.tool(name).is_closing_gate]
        tools.append((usual or last or menu.tools)[0])
    return Plan(**known, depth=depth, tools=tuple(tools))


def _walk(toolkit: Toolkit, plan: Plan, ruling: Ruling) -> tuple[tuple[Call, ...], Decision]:
    """Call every tool that the plan's graph leads to, until one decides."""
    walks, standing = graph(toolkit, plan), Standing(plan.risk, plan.category)
    calls: list[Call] = []
    while not calls or not ends_walk(calls[-1], toolkit):
        tool = toolkit.tool(walks.successors([call.tool for call in calls])[0])
        verdicts = toolkit.permitted_verdicts(tool.verdicts, standing.risk, standing.category)
        wanted = (*(word for word in (PROCEED, ruling.decision) if word in verdicts), *verdicts)
        words = (*wanted[:1], ruling.category, ruling.intent)
        calls.append(Call(tool=tool.name, fields={field.key: _value(field, ruling, words) for field in tool.fields}))
        standing = standing.after(calls[-1])
    return tuple(calls), Decision(wanted[0])


def _value(field: Field, ruling: Ruling, words: tuple[str, ...]) -> Value:
    match field:
        case Flag():
            return ruling.risk is not Risk.NONE
        case Level():
            return ruling.risk.value
        case Choice():
            return next((word for word in words if word in field.words), field.words[0])
        case Score():
            return 25 * list(Risk).index(ruling.risk)
        case Text():
            return _NOTE
        case Texts():
            return ()
