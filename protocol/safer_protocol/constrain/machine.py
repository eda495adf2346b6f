"""The outer automaton over static block indexes: one pass writes plan, trace and answer.

`Machine` is compiled once for a toolkit and a vocabulary and shared by all requests; a `Cursor` is one request's place in it.
The cursor's active set holds every block that the text so far may still turn out to be; at a block's final newline the protocol's
own reader takes the finished lines, and plan, graph and verdict decide what may follow.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from safer_protocol.constrain.index import NO_SLOT, BlockIndex, Ids, compile_block
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.decision import Decision, Risk, permitted_verdicts
from safer_protocol.fields import Text, Texts, budget
from safer_protocol.grammar import AnswerBlock, Block, CallBlock, CloseBlock, HeadBlock, ListBlock, PlanEndBlock, blocks
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.text import TRACE_OPEN, Part, Reader, print_plan
from safer_protocol.toolkit import Toolkit
from safer_protocol.tools import VERDICT_KEY
from safer_protocol.topology import Graph, ends_walk, graph, plan_menu
from safer_protocol.trace import next_risk

Active = tuple[tuple[Block, int], ...]

_ROWS_KEPT = 4096


class Machine:
    """Static tables for one toolkit and one vocabulary."""

    def __init__(
        self, toolkit: Toolkit, vocabulary: Vocabulary, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Compile every block; `progress` is called with (blocks done, blocks in all)."""
        self.toolkit = toolkit
        self.vocabulary = vocabulary
        names = list(blocks(toolkit))
        self.indexes: dict[Block, BlockIndex] = {}
        for done, block in enumerate(names, 1):
            self.indexes[block] = compile_block(block, toolkit, vocabulary)
            if progress:
                progress(done, len(names))
        self.end: Ids = np.array([vocabulary.eos], np.int32)
        self.row = lru_cache(_ROWS_KEPT)(self._row)
        self.closing_row = lru_cache(_ROWS_KEPT)(self._closing_row)

    def start(
        self, *, depth: Depth | None = None, plan: Plan | None = None, answer_tokens: int | None = None
    ) -> "Cursor":
        """Begin a reply.

        With `plan` (which must be valid) the text `Cursor.prefix` counts as written; `answer_tokens` bounds the answer.
        """
        return Cursor(self, depth, plan, answer_tokens)

    def _row(self, active: Active) -> Ids:
        rows = [self.indexes[block].tokens[state] for block, state in active]
        return rows[0] if len(rows) == 1 else np.unique(np.concatenate(rows))

    def _closing_row(self, block: Block, state: int) -> Ids:
        """The tokens that end a text at once, or that finish the character or opening it is in the middle of."""
        index, vocabulary = self.indexes[block], self.vocabulary
        row = index.tokens[state]
        leaves = vocabulary.begins_with_quote if index.closable[state] else vocabulary.is_single_byte
        return row[leaves[row]]


class Cursor:
    """One reply being written: `allowed` tokens now, `advance` by the one chosen."""

    def __init__(self, machine: Machine, depth: Depth | None, plan: Plan | None, answer_tokens: int | None) -> None:
        """Stand at the beginning of a reply, or behind a given plan."""
        self.machine = machine
        self.finished = False
        """Whether the end token has been taken."""
        self.cut = False
        """Whether the answer was closed because its budget was spent."""
        self.prefix = ""
        """Text that counts as already written."""
        self._answer_tokens = answer_tokens
        self._reader = Reader(machine.toolkit)
        self._graph: Graph | None = None
        self._risk: str = Risk.NONE
        self._written = bytearray()
        self._spent = 0
        self._active: Active = ((HeadBlock(depth), 0),)
        if plan is not None:
            self.prefix = f"{print_plan(plan)}{TRACE_OPEN}\n"
            self._read(self.prefix)

    @property
    def decided(self) -> bool:
        """Whether the closing gate has spoken."""
        return not self._active or isinstance(self._active[0][0], AnswerBlock | CloseBlock)

    def allowed(self) -> Ids:
        """Return the token ids that may come next, sorted; never empty until `finished`."""
        if not self._active:
            return self.machine.end
        block, state = self._active[0]
        if len(self._active) == 1 and self._budget_is_spent(block, state):
            if isinstance(block, AnswerBlock) and self.machine.indexes[block].closable[state]:
                self.cut = True
                self._active = ((CloseBlock(), 0),)
                return self.machine.row(self._active)
            return self.machine.closing_row(block, state)
        return self.machine.row(self._active)

    def advance(self, token: int) -> bytes:
        """Take an allowed token and return its bytes; raises ValueError for any other token."""
        if not self._active:
            if token != self.machine.vocabulary.eos or self.finished:
                raise ValueError(f"token {token} after the end of the reply")
            self.finished = True
            return b""
        before = self._active
        stepped = ((block, self.machine.indexes[block].step(state, token)) for block, state in before)
        self._active = tuple((block, state) for block, state in stepped if state is not None)
        text = self.machine.vocabulary.tokens[token] if 0 <= token < len(self.machine.vocabulary.tokens) else None
        if not self._active or text is None:
            self._active = before
            raise ValueError(f"token {token} is not allowed here")
        self._written += text
        self._count(before, text)
        block, state = self._active[0]
        if state in self.machine.indexes[block].final:
            self._read(self._written.decode())
            self._written.clear()
        return text

    def _count(self, before: Active, text: bytes) -> None:
        """Count the tokens of the text that the cursor is inside of."""
        block, state = self._active[0]
        if len(self._active) > 1 or self.machine.indexes[block].slots[state] == NO_SLOT:
            self._spent = 0
        elif isinstance(block, CallBlock) and b'"' in text:
            self._spent = 0 if text.endswith(b'"') else 1
        else:
            self._spent += 1

    def _budget_is_spent(self, block: Block, state: int) -> bool:
        slot = self.machine.indexes[block].slots[state]
        if slot == NO_SLOT:
            return False
        match block:
            case CallBlock(tool):
                field = self.machine.toolkit.tool(tool).fields[slot]
                depth = Depth((self._reader.head or {})["depth"])
                return isinstance(field, Text | Texts) and self._spent >= budget(field, depth.scale)
            case _:
                return self._answer_tokens is not None and self._spent >= self._answer_tokens

    def _read(self, text: str) -> None:
        """Give finished lines to the reader and open the blocks that may follow."""
        for line in text.split("\n")[:-1]:
            self._reader.feed(line)
        self._spent = 0
        self._active = tuple((block, 0) for block in self._following())

    def _following(self) -> tuple[Block, ...]:
        reader, toolkit = self._reader, self.machine.toolkit
        match reader.part:
            case Part.TOOLS:
                head: Mapping[str, str] = reader.head or {}
                menu = plan_menu(toolkit, Topology(head["topology"]), Depth(head["depth"]), reader.tools)
                end = (PlanEndBlock(),) if menu.may_end else ()
                return (*(ListBlock(name) for name in menu.tools), *end)
            case Part.TRACE:
                return self._following_calls()
            case _:
                return ()

    def _following_calls(self) -> tuple[Block, ...]:
        calls, toolkit = self._reader.calls, self.machine.toolkit
        if self._graph is None:
            plan = self._reader.plan
            if plan is None:
                raise AssertionError("a trace begins behind a plan")
            self._graph, self._risk = graph(toolkit, plan), plan.risk
        elif ends_walk(calls[-1], toolkit):
            return (AnswerBlock(Decision(str(calls[-1].fields[VERDICT_KEY]))),)
        else:
            self._risk = next_risk(self._risk, calls[-1])
        names = self._graph.successors([call.tool for call in calls])
        risk = Risk(self._risk)
        return tuple(CallBlock(name, permitted_verdicts(toolkit.tool(name).verdicts, risk)) for name in names)
