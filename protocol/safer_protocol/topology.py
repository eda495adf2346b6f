"""What may follow what: the law of the five topologies, for the tool list of a plan and for the walk of a trace.

A plan lists entry gate (shield only), perception, reasoning, decision tools and the closing gate, in this order, at least one
perception and one reasoning tool, each tool once. With the listed tools a walk goes:

linear   the one chain, every tool in order
tree     the first perception tool, then one branch: at most one more perception tool, one reasoning tool, at most one
         decision tool, the closing gate
mesh     every forward edge between tools of one stage or of neighbouring stages; decision tools may be skipped
shield   the entry gate, which may refuse at once; after `proceed` as in mesh
loop     as mesh, and once a reasoning tool may go back to any perception tool, so a tool may be called twice

The paper names the topologies and publishes no edges: this is the project's reading.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from safer_protocol.decision import Decision
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.toolkit import Toolkit
from safer_protocol.tools import VERDICT_KEY, Stage, Tool
from safer_protocol.trace import Call

_PLANS_KEPT = 1024
"""A reply is verified line by line, and its plan with every line."""

_ENTRY, _PERCEPTION, _REASONING, _DECISION, _CLOSING = range(5)


def rank(tool: Tool) -> int:
    """Where in a plan a tool belongs, from 0: entry gate, perception, reasoning, decision, closing gate."""
    match tool.stage:
        case Stage.PERCEPTION:
            return _PERCEPTION
        case Stage.REASONING:
            return _REASONING
        case Stage.DECISION:
            if tool.is_entry_gate:
                return _ENTRY
            return _CLOSING if tool.is_closing_gate else _DECISION


@dataclass(frozen=True)
class Menu:
    """What may come next: one of `tools`, or the end where `may_end`."""

    tools: tuple[str, ...]
    may_end: bool


def plan_menu(toolkit: Toolkit, topology: Topology, depth: Depth, chosen: Sequence[str]) -> Menu:
    """Return which tools a plan may list after `chosen`, such that the list can still be completed within the depth."""
    ranks = [rank(toolkit.tool(name)) for name in chosen]
    last = ranks[-1] if ranks else None
    if last == _CLOSING:
        return Menu((), True)
    room = depth.max_calls - len(chosen)
    return Menu(
        tuple(
            tool.name
            for tool in toolkit.tools
            if tool.name not in chosen
            and _may_list(topology, last, rank(tool))
            and _still_needed(rank(tool)) + 1 <= room
        ),
        False,
    )


def _may_list(topology: Topology, last: int | None, new: int) -> bool:
    if last is None:
        return new == (_ENTRY if topology is Topology.SHIELD else _PERCEPTION)
    if last == _ENTRY:
        return new == _PERCEPTION
    return new in (last, last + 1) or (last, new) == (_REASONING, _CLOSING)


def _still_needed(last: int) -> int:
    """How many more tools a list needs after one of this rank."""
    return {_ENTRY: 3, _PERCEPTION: 2, _REASONING: 1, _DECISION: 1, _CLOSING: 0}[last]


@dataclass(frozen=True)
class Graph:
    """The walks that a plan permits."""

    start: str
    edges: Mapping[str, tuple[str, ...]]
    backward: Mapping[str, tuple[str, ...]]
    """Edges that a walk may use once."""
    to_end: Mapping[str, int]
    """The fewest calls from a tool, itself included, to the closing gate."""
    max_calls: int
    max_uses: int

    def successors(self, walk: Sequence[str]) -> tuple[str, ...]:
        """Return the tools that may be called after `walk`, none of them a dead end; `walk` must itself be permitted."""
        if not walk:
            return (self.start,)
        room = self.max_calls - len(walk)
        following = self.edges[walk[-1]]
        if self.backward.get(walk[-1]) and not self.went_back(walk):
            following = following + self.backward[walk[-1]]
        return tuple(name for name in following if self.to_end[name] <= room)

    def went_back(self, walk: Sequence[str]) -> bool:
        """Whether the walk has used a backward edge."""
        return any(after in self.backward.get(before, ()) for before, after in pairwise(walk))


@lru_cache(_PLANS_KEPT)
def graph(toolkit: Toolkit, plan: Plan) -> Graph:
    """Build the graph of a plan whose head and tool list are valid (`plan_problem` says None)."""
    topology, depth = Topology(plan.topology), Depth(plan.depth)
    ranks = {name: rank(toolkit.tool(name)) for name in plan.tools}
    edges: dict[str, tuple[str, ...]] = {}
    for position, name in enumerate(plan.tools):
        later = plan.tools[position + 1 :]
        match topology:
            case Topology.LINEAR:
                edges[name] = later[:1]
            case Topology.TREE:
                edges[name] = tuple(other for other in later if _branches(ranks, plan.tools[0], name, other))
            case Topology.MESH | Topology.SHIELD | Topology.LOOP:
                edges[name] = tuple(other for other in later if _may_list(topology, ranks[name], ranks[other]))
    perception = tuple(name for name in plan.tools if ranks[name] == _PERCEPTION)
    backward = (
        {name: perception for name in plan.tools if ranks[name] == _REASONING} if topology is Topology.LOOP else {}
    )
    to_end: dict[str, int] = {}
    for name in reversed(plan.tools):
        to_end[name] = 1 + min((to_end[other] for other in edges[name]), default=0)
    return Graph(
        start=plan.tools[0],
        edges=edges,
        backward=backward,
        to_end=to_end,
        max_calls=depth.max_calls,
        max_uses=2 if topology is Topology.LOOP else 1,
    )


def _branches(ranks: Mapping[str, int], root: str, name: str, other: str) -> bool:
    """Whether a tree has the edge: within a stage only the root branches."""
    if ranks[name] == ranks[other]:
        return name == root
    return ranks[other] == ranks[name] + 1 or (ranks[name], ranks[other]) == (_REASONING, _CLOSING)


@lru_cache(_PLANS_KEPT)
def plan_problem(toolkit: Toolkit, plan: Plan) -> str | None:
    """Say why a plan's tool list breaks the law of its topology, or None; its head and tool names must be known."""
    topology, depth = Topology(plan.topology), Depth(plan.depth)
    for position, name in enumerate(plan.tools):
        menu = plan_menu(toolkit, topology, depth, plan.tools[:position])
        if name not in menu.tools:
            expected = "the end of the plan" if menu.may_end else f"one of {', '.join(menu.tools)}"
            return f"{name} cannot be tool {position + 1} of a {topology} plan of {depth} depth; expected {expected}"
    if not plan_menu(toolkit, topology, depth, plan.tools).may_end:
        return "the plan does not end in a closing gate"
    return None


def ends_walk(call: Call, toolkit: Toolkit) -> bool:
    """Whether a call is the decision: a closing gate's, or a refusal at the entry gate."""
    tool = toolkit.by_name.get(call.tool)
    if tool is None:
        return False
    return tool.is_closing_gate or (tool.is_entry_gate and call.fields.get(VERDICT_KEY) == Decision.REFUSE)
