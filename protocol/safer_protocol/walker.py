"""The outer automaton: which blocks may follow the lines that have been written.

It knows lines and never tokens; `safer_protocol.constrain` runs it over compiled blocks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from math import inf
from typing import Protocol

from safer_protocol.decision import Decision
from safer_protocol.fields import Text, Texts, budget
from safer_protocol.grammar import AnswerBlock, Block, CallBlock, HeadBlock, ListBlock, PlanEndBlock
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.text import Part, Reader, given_text
from safer_protocol.toolkit import Toolkit
from safer_protocol.tools import VERDICT_KEY
from safer_protocol.topology import Graph, ends_walk, graph, plan_menu
from safer_protocol.trace import Standing


@dataclass(frozen=True)
class Costs:
    """What each kind of block costs at most, in any unit."""

    line: Mapping[str, int]
    """A tool's line in the list of a plan, by its name."""
    call: Mapping[str, int]
    """A call of a tool, by its name."""
    plan_end: int
    answer: int


class Walker(Protocol):
    """Follows one text, block by block."""

    prefix: str
    """Text that counts as already written."""

    def following(self) -> tuple[Block, ...]:
        """The blocks that may come next; none at the end."""
        ...

    def read(self, text: str) -> None:
        """Take the lines of a finished block."""
        ...

    def budget(self, block: Block, slot: int) -> float:
        """The most tokens that a slot of a block may have; infinity where there is no limit."""
        ...


class ReplyWalker:
    """Follows a reply: plan, trace along the plan's graph, answer."""

    def __init__(
        self, toolkit: Toolkit, depths: tuple[Depth, ...], plan: Plan | None, answer_tokens: int | None
    ) -> None:
        """Stand at the beginning, with the depths that are open, or behind a given plan, which must be valid."""
        self.prefix = given_text(plan)
        self._toolkit = toolkit
        self._depths = depths
        self._answer_tokens = inf if answer_tokens is None else answer_tokens
        self._reader = Reader(toolkit)
        self._graph: Graph | None = None
        self._standing = Standing("", "")
        self._scale = 1.0
        self.read(self.prefix)

    def read(self, text: str) -> None:
        """Take finished lines."""
        for line in text.split("\n")[:-1]:
            self._reader.feed(line)

    def following(self) -> tuple[Block, ...]:
        """The blocks that may come next; to be asked once after each block."""
        reader, toolkit = self._reader, self._toolkit
        match reader.part:
            case Part.PLAN_OPEN:
                return (HeadBlock(None),) if len(self._depths) == len(Depth) else tuple(map(HeadBlock, self._depths))
            case Part.TOOLS:
                head = reader.head or {}
                menu = plan_menu(toolkit, Topology(head["topology"]), Depth(head["depth"]), reader.tools)
                end = (PlanEndBlock(),) if menu.may_end else ()
                return (*(ListBlock(name) for name in menu.tools), *end)
            case Part.TRACE:
                return self._following_calls()
            case _:
                return ()

    def _following_calls(self) -> tuple[Block, ...]:
        calls, toolkit = self._reader.calls, self._toolkit
        if self._graph is None:
            plan = self._reader.plan
            if plan is None:
                raise AssertionError("a trace begins behind a plan")
            self._graph, self._standing = graph(toolkit, plan), Standing(plan.risk, plan.category)
            self._scale = Depth(plan.depth).scale
        elif ends_walk(calls[-1], toolkit):
            return (AnswerBlock(Decision(str(calls[-1].fields[VERDICT_KEY]))),)
        else:
            self._standing = self._standing.after(calls[-1])
        names = self._graph.successors([call.tool for call in calls])
        standing = self._standing
        return tuple(
            CallBlock(name, toolkit.permitted_verdicts(toolkit.tool(name).verdicts, standing.risk, standing.category))
            for name in names
        )

    def budget(self, block: Block, slot: int) -> float:
        """Tokens of a text of a call, scaled by the depth, or of the answer."""
        match block:
            case CallBlock(tool):
                field = self._toolkit.tool(tool).fields[slot]
                return budget(field, self._scale) if isinstance(field, Text | Texts) else inf
            case AnswerBlock():
                return self._answer_tokens
            case _:
                return inf

    def rest(self, block: Block, costs: Costs) -> int:
        """An upper bound on the cost of all that may follow a block that may come next; taking blocks never raises it.

        Every tool counts that may still be listed or called.
        """
        match block:
            case HeadBlock(depth):
                depths = self._depths if depth is None else (depth,)
                return max(self._rest_of_list((), deep.max_calls, costs) for deep in depths)
            case ListBlock(name):
                return self._rest_of_list((*self._reader.tools, name), self._max_calls, costs)
            case PlanEndBlock():
                return self._rest_of_walk((), costs)
            case CallBlock(name):
                return self._rest_of_walk((*(call.tool for call in self._reader.calls), name), costs)
            case _:
                return 0

    def _rest_of_list(self, chosen: Sequence[str], most: int, costs: Costs) -> int:
        """Behind the head or a line of the tool list: the lines to come, and a call of each tool that is or may be listed."""
        others = costs.line.keys() - set(chosen)
        room = most - len(chosen)
        lines = sum(nlargest(room, (costs.line[name] for name in others)))
        if self._may_loop:
            calls = sum(nlargest(most, 2 * list(costs.call.values())))
        else:
            calls = sum(costs.call[name] for name in chosen)
            calls += sum(nlargest(room, (costs.call[name] for name in others)))
        return lines + costs.plan_end + calls + costs.answer

    def _rest_of_walk(self, walk: Sequence[str], costs: Costs) -> int:
        """Behind a call: every edge leads forward but one way back, after which the tools may be called again."""
        tools = self._reader.tools
        later = tools[tools.index(walk[-1]) + 1 :] if walk else list(tools)
        room = len(later)
        if room and self._may_loop:
            room = self._max_calls - len(walk)
            if self._graph is None or not self._graph.went_back(walk):
                later += tools
        return sum(nlargest(room, (costs.call[name] for name in later))) + costs.answer

    @property
    def _max_calls(self) -> int:
        return Depth((self._reader.head or {})["depth"]).max_calls

    @property
    def _may_loop(self) -> bool:
        if self._reader.head is None:
            return Topology.LOOP in self._toolkit.usable_topologies
        return self._reader.head["topology"] == Topology.LOOP
