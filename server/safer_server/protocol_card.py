"""The protocol in force, as served to clients and printed on the command line."""

from typing import Any, Literal

from pydantic import BaseModel

from safer_protocol.categories import Category
from safer_protocol.decision import Decision, Risk
from safer_protocol.personas import Persona
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.policy import Policy
from safer_protocol.toolkit import GRAMMAR_VERSION
from safer_protocol.tools import Tool
from safer_protocol.trace import Call
from safer_protocol.violation import Code

TOPOLOGY_MEANINGS = {
    Topology.LINEAR: "The one chain: every tool in order.",
    Topology.TREE: "A root and one branch: each stage is entered once.",
    Topology.MESH: "Every forward step within a stage or to the next.",
    Topology.SHIELD: "An entry gate that may refuse at once, then as in a mesh.",
    Topology.LOOP: "As a mesh, and once back from reasoning to perception.",
}


class TopologyCard(BaseModel):
    """A topology and what it means."""

    name: Topology
    meaning: str


class DepthCard(BaseModel):
    """A depth: its most calls, and the factor on every text budget."""

    name: Depth
    max_calls: int
    scale: float


class Grammar(BaseModel):
    """The wire form: its family and version."""

    family: Literal["lines"] = "lines"
    version: str = GRAMMAR_VERSION


class ProtocolCard(BaseModel):
    """Everything that a plan and a trace may say."""

    object: Literal["protocol"] = "protocol"
    protocol_hash: str
    policy: str
    policy_hash: str
    untrained: tuple[str, ...]
    grammar: Grammar
    tools: tuple[Tool, ...]
    personas: tuple[Persona, ...]
    topologies: tuple[TopologyCard, ...]
    depths: tuple[DepthCard, ...]
    decisions: tuple[Decision, ...]
    risks: tuple[Risk, ...]
    permitted: dict[Risk, tuple[Decision, ...]]
    outcomes: dict[str, tuple[Decision, ...]]
    openings: dict[Decision, tuple[str, ...]]
    categories: tuple[Category, ...]
    violation_codes: tuple[Code, ...]
    schemas: dict[str, Any]


def protocol_card(policy: Policy) -> ProtocolCard:
    """Describe the toolkit of a policy; `untrained` names what the checkpoint was not trained for."""
    toolkit = policy.toolkit
    return ProtocolCard(
        protocol_hash=policy.protocol_hash,
        policy=policy.name,
        policy_hash=policy.policy_hash,
        untrained=policy.untrained,
        grammar=Grammar(),
        tools=toolkit.tools,
        personas=toolkit.personas,
        topologies=tuple(
            TopologyCard(name=name, meaning=TOPOLOGY_MEANINGS[name]) for name in toolkit.usable_topologies
        ),
        depths=tuple(DepthCard(name=depth, max_calls=depth.max_calls, scale=depth.scale) for depth in Depth),
        decisions=tuple(Decision),
        risks=tuple(Risk),
        permitted=dict(toolkit.permitted),
        outcomes=dict(toolkit.outcomes),
        openings=dict(toolkit.openings),
        categories=toolkit.categories,
        violation_codes=tuple(Code),
        schemas={"plan": Plan.model_json_schema(), "call": Call.model_json_schema()},
    )
