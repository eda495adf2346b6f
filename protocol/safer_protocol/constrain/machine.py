"""The mask machine: static block indexes under an outer automaton, so that one pass writes plan, trace and answer.

`Machine` is compiled once for a toolkit and a vocabulary and shared by all requests; a `Cursor` is one request's place in it.
The cursor's active set holds every block that the text so far may still turn out to be; at a block's final newline the walker takes
the finished lines and says which blocks may follow.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from safer_protocol.constrain.index import NO_SLOT, BlockIndex
from safer_protocol.constrain.reserve import Reserve
from safer_protocol.constrain.row import Row
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.grammar import (
    AnswerBlock,
    Block,
    CallBlock,
    CloseBlock,
    ListBlock,
    OpenCallBlock,
    PlanEndBlock,
    blocks,
)
from safer_protocol.open_profile import OpenWalker
from safer_protocol.plan import Depth, Plan
from safer_protocol.toolkit import Toolkit
from safer_protocol.walker import Costs, ReplyWalker, Walker

Active = tuple[tuple[int, int], ...]
"""Pairs of (block number, state)."""

Rest = Callable[[Block, Costs], int]

_ROWS_KEPT = 1024
"""Bounds what is put together while serving: a row of the 151,665 tokens of Qwen has 19 kB."""


def _nothing(_: Block, __: Costs) -> int:
    """What is behind a block, where nobody counts."""
    return 0


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
        _ = vocabulary.begins_with_quote, vocabulary.begins_with_newline, vocabulary.single_bytes
        self.end = self._end(vocabulary.eos)
        self.end_of_cut = self._end(vocabulary.end_of_cut)
        self.union = lru_cache(_ROWS_KEPT)(self._union)
        self.closing_row = lru_cache(_ROWS_KEPT)(self._closing_row)
        self.forced_text = lru_cache(_ROWS_KEPT)(self._forced_text)
        self.reserve = Reserve(self)
        self._least = lru_cache(256)(self._count_least)
        self.costs = self._costs()

    def start(
        self,
        *,
        depth: Depth | None = None,
        plan: Plan | None = None,
        answer_tokens: int | None = None,
        limit: int | None = None,
    ) -> "Cursor":
        """Begin a reply.

        With `plan` (which must be valid) the text `Cursor.prefix` counts as written; `answer_tokens` bounds the answer.
        `limit` bounds the whole reply, its end token included: as it comes near, depths that would not fit are left out, texts
        end at once, and the answer is closed. It is kept unless it is below `least`.
        """
        depths = tuple(Depth) if depth is None else (depth,)
        if limit is not None and plan is None:
            depths = tuple(one for one in depths if self.least(depth=one) <= limit) or depths[:1]
        walker = ReplyWalker(self.toolkit, depths, plan, answer_tokens)
        return Cursor(self, walker, walker.rest, limit)

    def least(self, *, depth: Depth | None = None, plan: Plan | None = None) -> int:
        """The tokens in which every reply can be closed, its end token included."""
        return self._least(Depth.BRIEF if depth is None else depth, plan)

    def _count_least(self, depth: Depth, plan: Plan | None) -> int:
        walker = ReplyWalker(self.toolkit, (depth,), plan, None)
        return Cursor(self, walker, walker.rest).reserve

    def _costs(self) -> Costs:
        """The most tokens of each kind of block in a hurry."""
        tokens = {
            block: self.reserve.longest(((number, 0),))
            for block, number in self.numbers.items()
            if not isinstance(block, OpenCallBlock)
        }
        calls: dict[str, int] = {}
        for block, count in tokens.items():
            if isinstance(block, CallBlock):
                calls[block.tool] = max(count, calls.get(block.tool, 0))
        return Costs(
            line={block.tool: count for block, count in tokens.items() if isinstance(block, ListBlock)},
            call=calls,
            plan_end=tokens[PlanEndBlock()],
            answer=max(count for block, count in tokens.items() if isinstance(block, AnswerBlock)),
        )

    def _end(self, token: int) -> Row:
        return Row.of(np.array([token], np.int32), len(self.vocabulary.tokens))

    def start_open(self, answer_tokens: int | None = None) -> "Cursor":
        """Begin a text of the open profile."""
        return Cursor(self, OpenWalker(answer_tokens))

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
        if not index.closable[state]:
            leaves = vocabulary.single_bytes
        elif isinstance(self.blocks[number], OpenCallBlock):
            leaves = vocabulary.begins_with_newline
        else:
            leaves = vocabulary.begins_with_quote
        return Row(index.rows[state].bits & leaves.bits)


class Cursor:
    """One text being written: `allowed` tokens now, `advance` by the one chosen."""

    def __init__(self, machine: Machine, walker: Walker, rest: Rest = _nothing, limit: int | None = None) -> None:
        """Stand at the beginning, or behind the walker's prefix; `rest` says what the blocks behind one may cost."""
        self.machine = machine
        self.hurried = False
        """Whether the limit is so near that texts end at once."""
        self.finished = False
        """Whether the end token has been taken."""
        self.cut = False
        """Whether the answer was closed because its budget was spent."""
        self.prefix = walker.prefix
        """Text that counts as already written."""
        self.line = b""
        """What has been written of the current line."""
        self.line_tokens: list[int] = []
        """The tokens of `line`."""
        self._walker = walker
        self._cost_behind = rest
        self._written = bytearray()
        self._spent = 0
        self._left = limit
        self._rests: dict[int, int] = {}
        self._active = self._following()
        self._look_ahead()

    @property
    def decided(self) -> bool:
        """Whether the closing gate has spoken."""
        return not self._active or isinstance(self.machine.blocks[self._active[0][0]], AnswerBlock | CloseBlock)

    def allowed(self) -> Row:
        """Return the tokens that may come next; never none until `finished`."""
        if not self._active:
            return self.machine.end_of_cut if self.cut else self.machine.end
        if self.hurried:
            return self.machine.reserve.row(self._active)
        if len(self._active) > 1:
            return self.machine.union(self._active)
        number, state = self._active[0]
        index = self.machine.indexes[number]
        return self.machine.closing_row(number, state) if self._is_closing() else index.rows[state]

    def forced_text(self) -> bytes:
        """Return the bytes that must come next, as far as they are known without looking beyond the current block."""
        if not self._active or self.hurried or self._is_closing():
            return b""
        return self.machine.forced_text(self._active)

    def advance(self, token: int) -> bytes:
        """Take an allowed token and return its bytes; raises ValueError for any other token."""
        if not self._active:
            if self.finished or token not in self.allowed():
                raise ValueError(f"token {token} after the end of the reply")
            self.finished = True
            return b""
        indexes = self.machine.indexes
        after = self.machine.step(self._active, token)
        if not after:
            raise ValueError(f"token {token} is not allowed here")
        self._active = after
        if self._left is not None:
            self._left -= 1
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
            self._walker.read(self._written.decode())
            self._written.clear()
            self._spent = 0
            self._rests.clear()
            self._active = self._following()
        self._look_ahead()
        if self._is_closing() and self._may_cut():
            self.cut = True
            self._active = ((self.machine.numbers[CloseBlock()], 0),)
            self._look_ahead()
        return text

    @property
    def reserve(self) -> int:
        """The most tokens that are needed from here in a hurry, the end token included."""
        return self.machine.reserve.longest(self._active) + self._rest if self._active else 1

    def _look_ahead(self) -> None:
        """Hurry where a token chosen freely might leave too few for the rest."""
        if self._left is None or not self._active:
            return
        self.hurried = self.machine.reserve.longest_after_any(self._active) + self._rest > self._left

    @property
    def _rest(self) -> int:
        """The most tokens that are needed behind the blocks that are active, the end token included."""
        for number, _ in self._active:
            if number not in self._rests:
                block = self.machine.blocks[number]
                self._rests[number] = self._cost_behind(block, self.machine.costs)
        return 1 + max(self._rests[number] for number, _ in self._active)

    def _may_cut(self) -> bool:
        number, state = self._active[0]
        return isinstance(self.machine.blocks[number], AnswerBlock) and bool(
            self.machine.indexes[number].closable[state]
        )

    def _following(self) -> Active:
        return tuple((self.machine.numbers[block], 0) for block in self._walker.following())

    def _is_closing(self) -> bool:
        """Whether the text that the cursor is inside of has to end: its budget is spent, or the limit is near."""
        if len(self._active) != 1:
            return False
        number, state = self._active[0]
        slot = self.machine.indexes[number].slot_of[state]
        if slot == NO_SLOT:
            return False
        return self.hurried or self._spent >= self._walker.budget(self.machine.blocks[number], slot)
