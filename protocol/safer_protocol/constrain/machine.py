"""The outer automaton over static block indexes: one pass writes plan, trace and answer.

`Machine` is compiled once for a toolkit and a vocabulary and shared by all requests; a `Cursor` is one request's place in it.
The cursor's active set holds every block that the text so far may still turn out to be; at a block's final newline the protocol's
own reader takes the finished lines, and plan, graph and verdict decide what may follow.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import inf

import numpy as np

from safer_protocol.constrain.index import NO_SLOT, BlockIndex
from safer_protocol.constrain.row import Row
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.decision import Decision
from safer_protocol.fields import Text, Texts, budget
from safer_protocol.grammar import AnswerBlock, Block, CallBlock, CloseBlock, HeadBlock, ListBlock, PlanEndBlock, blocks
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.text import TRACE_OPEN, Part, Reader, print_plan
from safer_protocol.toolkit import Toolkit
from safer_protocol.tools import VERDICT_KEY
from safer_protocol.topology import Graph, ends_walk, graph, plan_menu
from safer_protocol.trace import Standing

Active = tuple[tuple[int, int], ...]
"""Pairs of (block number, state)."""

_ROWS_KEPT = 4096


class Machine:
    """Static tables for one toolkit and one vocabulary."""

    def __init__(self, toolkit: Toolkit, vocabulary: Vocabulary, indexes: Mapping[Block, BlockIndex]) -> None:
        """Take the compiled blocks of the toolkit (`safer_protocol.constrain.cache.compile_blocks`)."""
        self.toolkit = toolkit
        self.vocabulary = vocabulary
        self.blocks = list(blocks(toolkit))
        self.indexes = [indexes[block] for block in self.blocks]
        self.numbers = {block: number for number, block in enumerate(self.blocks)}
        for index in self.indexes:
            index.warm()
        _ = vocabulary.begins_with_quote, vocabulary.single_bytes
        self.end = Row.of(np.array([vocabulary.eos], np.int32), len(vocabulary.tokens))
        self.union = lru_cache(_ROWS_KEPT)(self._union)
        self.closing_row = lru_cache(_ROWS_KEPT)(self._closing_row)
        self.forced_text = lru_cache(_ROWS_KEPT)(self._forced_text)

    def start(
        self, *, depth: Depth | None = None, plan: Plan | None = None, answer_tokens: int | None = None
    ) -> "Cursor":
        """Begin a reply.

        With `plan` (which must be valid) the text `Cursor.prefix` counts as written; `answer_tokens` bounds the answer.
        """
        return Cursor(self, depth, plan, answer_tokens)

    def _union(self, active: Active) -> Row:
        return Row(np.bitwise_or.reduce([self.indexes[number].rows[state].bits for number, state in active]))

    def _forced_text(self, active: Active) -> bytes:
        """The bytes that must come next, up to where there is a choice or the block ends."""
        forced = bytearray()
        while not any(self.indexes[number].ends[state] for number, state in active):
            choices = Row(self._union(active).bits & self.vocabulary.single_bytes.bits).ids
            if len(choices) != 1:
                break
            forced += self.vocabulary.tokens[choices[0]] or b""
            active = self.step(active, int(choices[0]))
        return bytes(forced)

    def step(self, active: Active, token: int) -> Active:
        """Return what is still possible after a token; nothing where it is not allowed."""
        stepped = ((number, self.indexes[number].step(state, token)) for number, state in active)
        return tuple((number, state) for number, state in stepped if state is not None)

    def _closing_row(self, number: int, state: int) -> Row:
        """The tokens that end a text at once, or that finish the character or opening it is in the middle of."""
        index, vocabulary = self.indexes[number], self.vocabulary
        leaves = vocabulary.begins_with_quote if index.closable[state] else vocabulary.single_bytes
        return Row(index.rows[state].bits & leaves.bits)


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
        self.line = b""
        """What has been written of the current line."""
        self.line_tokens: list[int] = []
        """The tokens of `line`."""
        self._answer_tokens = answer_tokens
        self._reader = Reader(machine.toolkit)
        self._graph: Graph | None = None
        self._standing: Standing | None = None
        self._written = bytearray()
        self._spent = 0
        self._scale = 1.0
        self._active: Active = ((machine.numbers[HeadBlock(depth)], 0),)
        if plan is not None:
            self.prefix = f"{print_plan(plan)}{TRACE_OPEN}\n"
            self._read(self.prefix)

    @property
    def decided(self) -> bool:
        """Whether the closing gate has spoken."""
        return not self._active or isinstance(self.machine.blocks[self._active[0][0]], AnswerBlock | CloseBlock)

    def allowed(self) -> Row:
        """Return the tokens that may come next; never none until `finished`."""
        if len(self._active) != 1:
            return self.machine.union(self._active) if self._active else self.machine.end
        number, state = self._active[0]
        index = self.machine.indexes[number]
        return self.machine.closing_row(number, state) if self._is_closing() else index.rows[state]

    def forced_text(self) -> bytes:
        """Return the bytes that must come next, as far as they are known without looking beyond the current block."""
        return self.machine.forced_text(self._active) if self._active and not self._is_closing() else b""

    def advance(self, token: int) -> bytes:
        """Take an allowed token and return its bytes; raises ValueError for any other token."""
        if not self._active:
            if token != self.machine.vocabulary.eos or self.finished:
                raise ValueError(f"token {token} after the end of the reply")
            self.finished = True
            return b""
        indexes = self.machine.indexes
        after = self.machine.step(self._active, token)
        if not after:
            raise ValueError(f"token {token} is not allowed here")
        self._active = after
        text = self.machine.vocabulary.tokens[token] or b""
        self._written += text
        self.line += text
        self.line_tokens.append(token)
        if text.endswith(b"\n"):
            self.line, self.line_tokens = b"", []
        number, state = after[0]
        slot = indexes[number].slot_of[state]
        if len(after) > 1 or slot == NO_SLOT:
            self._spent = 0
        elif b'"' in text and isinstance(self.machine.blocks[number], CallBlock):
            self._spent = 0 if text.endswith(b'"') else 1
        else:
            self._spent += 1
        if indexes[number].ends[state]:
            self._read(self._written.decode())
            self._written.clear()
        elif (
            isinstance(self.machine.blocks[number], AnswerBlock)
            and self._is_closing()
            and indexes[number].closable[state]
        ):
            self.cut = True
            self._active = ((self.machine.numbers[CloseBlock()], 0),)
        return text

    def _is_closing(self) -> bool:
        """Whether the budget of the text that the cursor is inside of is spent."""
        number, state = self._active[0]
        slot = self.machine.indexes[number].slot_of[state]
        return len(self._active) == 1 and slot != NO_SLOT and self._spent >= self._budget(number, slot)

    def _budget(self, number: int, slot: int) -> float:
        match self.machine.blocks[number]:
            case CallBlock(tool):
                field = self.machine.toolkit.tool(tool).fields[slot]
                return budget(field, self._scale) if isinstance(field, Text | Texts) else inf
            case _:
                return inf if self._answer_tokens is None else self._answer_tokens

    def _read(self, text: str) -> None:
        """Give finished lines to the reader and open the blocks that may follow."""
        for line in text.split("\n")[:-1]:
            self._reader.feed(line)
        self._spent = 0
        self._active = tuple((self.machine.numbers[block], 0) for block in self._following())

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
        if self._graph is None or self._standing is None:
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
