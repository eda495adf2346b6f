"""The outer automaton: which blocks may follow the lines that have been written.

It knows lines and never tokens; `safer_protocol.constrain` runs it over compiled blocks.
"""

from math import inf
from typing import Protocol

from safer_protocol.decision import Decision
from safer_protocol.fields import Text, Texts, budget
from safer_protocol.grammar import AnswerBlock, Block, CallBlock, HeadBlock, ListBlock, PlanEndBlock
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.text import TRACE_OPEN, Part, Reader, print_plan
from safer_protocol.toolkit import Toolkit
from safer_protocol.tools import VERDICT_KEY
from safer_protocol.topology import Graph, ends_walk, graph, plan_menu
from safer_protocol.trace import Standing


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

    def __init__(self, toolkit: Toolkit, depth: Depth | None, plan: Plan | None, answer_tokens: int | None) -> None:
        """Stand at the beginning, with a depth given or not, or behind a given plan, which must be valid."""
        self.prefix = "" if plan is None else f"{print_plan(plan)}{TRACE_OPEN}\n"
        self._toolkit = toolkit
        self._depth = depth
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
                return (HeadBlock(self._depth),)
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
