"""A block compiled for a vocabulary: states, the tokens each allows, and which text each state is inside of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise, repeat
from sys import getsizeof
from typing import Any

import numpy as np
import outlines_core

from safer_protocol.constrain.row import Bits, Ids, Row
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.grammar import ANSWER_PREFIX, AnswerBlock, Block, CallBlock, OpenCallBlock, block_pattern
from safer_protocol.text import ANSWER_CLOSE
from safer_protocol.toolkit import Toolkit

NO_SLOT = -1
LISTED_IN_FULL = 256
"""A state that allows no more tokens than this lists them all."""
Bools = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class BlockIndex:
    """Token-level automaton of one block; state 0 is its beginning.

    A *slot* is a stretch of text with a budget. `slots[state]` says which one a state is inside of: the position of the field in a
    call, 0 in an answer or an open call, `NO_SLOT` elsewhere. `closable[state]` says whether the text may end there (False in the
    middle of a character or of an opening).

    Most tokens of a state inside a text lead to one and the same state, its *usual* one; only the others are listed. `bits` holds
    the distinct rows, `row_of[state]` the row of each state; `others[starts[state]:starts[state + 1]]` are its listed tokens, and
    `targets` where they lead.
    """

    bits: Bits
    row_of: Ids
    usual: Ids
    starts: Ids
    others: Ids
    targets: Ids
    final: Bools
    slots: Ids
    closable: Bools

    @cached_property
    def distinct(self) -> Sequence[Row]:
        """The rows of `bits`."""
        return [Row(bits) for bits in self.bits]

    @cached_property
    def rows(self) -> Sequence[Row]:
        """By state: the tokens it allows."""
        return [self.distinct[row] for row in self.row_of.tolist()]

    @cached_property
    def ends(self) -> Sequence[bool]:
        """By state: whether the block is complete."""
        return list(self.final.tolist())

    @cached_property
    def slot_of(self) -> Sequence[int]:
        """`slots` as a list."""
        return list(self.slots.tolist())

    @cached_property
    def listed(self) -> Sequence[Mapping[int, int]]:
        """By state: where the listed tokens lead."""
        tokens, targets, starts = self.others.tolist(), self.targets.tolist(), self.starts.tolist()
        return [dict(zip(tokens[start:end], targets[start:end], strict=True)) for start, end in pairwise(starts)]

    @cached_property
    def usual_of(self) -> Sequence[int]:
        """`usual` as a list."""
        return list(self.usual.tolist())

    @property
    def nbytes(self) -> int:
        """Bytes held by the arrays, by what requests have unpacked of the rows, and by the tables of transitions."""
        arrays: int = sum(getattr(self, field.name).nbytes for field in fields(self))
        return arrays + sum(row.unpacked_bytes for row in self.distinct) + self._table_bytes

    @cached_property
    def _table_bytes(self) -> int:
        lists = sum(getsizeof(table) for table in (self.rows, self.ends, self.slot_of, self.listed, self.usual_of))
        numbers = len(self.others) + int((self.targets > 256).sum())  # smaller ones are there anyway
        return lists + sum(map(getsizeof, self.listed)) + 32 * numbers

    def warm(self) -> None:
        """Make the tables that a request would otherwise make at its first touch."""
        _ = self.rows, self.ends, self.slot_of, self.listed, self.usual_of

    def step(self, state: int, token: int) -> int | None:
        """Return the state after a token, or None where the token is not allowed."""
        target = self.listed[state].get(token)
        if target is not None:
            return target
        usual = self.usual_of[state]
        return usual if usual >= 0 and token in self.rows[state] else None


def compile_block(block: Block, toolkit: Toolkit, vocabulary: Vocabulary) -> BlockIndex:
    """Compile a block; takes milliseconds on a vocabulary of thousands, seconds at most on one of 150,000 tokens."""
    index = outlines_core.Index(block_pattern(block, toolkit), vocabulary.for_outlines)
    names = [index.get_initial_state()]
    numbers = {names[0]: 0}
    distinct: dict[bytes, int] = {}
    row_of, usual, starts = [], [], [0]
    others, targets = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    # State by state and never all transitions at once, which take gigabytes.
    for name in names:
        tokens, lead_to = _row(index, name)
        row_of.append(distinct.setdefault(Row.of(tokens, len(vocabulary.tokens)).bits.tobytes(), len(distinct)))
        found, places, counts = np.unique(lead_to, return_inverse=True, return_counts=True)
        for other in found.tolist():
            if numbers.setdefault(other, len(names)) == len(names):
                names.append(other)
        leads = np.array([numbers[other] for other in found.tolist()], np.int32)[places]
        usual.append(numbers[int(found[counts.argmax()])] if len(tokens) > LISTED_IN_FULL else -1)
        listed = leads != usual[-1]
        others.append(tokens[listed])
        targets.append(leads[listed])
        starts.append(starts[-1] + int(listed.sum()))
    bare = BlockIndex(
        bits=np.stack([np.frombuffer(row, np.uint32) for row in distinct]),
        row_of=np.array(row_of, np.int32),
        usual=np.array(usual, np.int32),
        starts=np.array(starts, np.int32),
        others=np.concatenate(others),
        targets=np.concatenate(targets),
        final=np.array([index.is_final_state(name) for name in names]),
        slots=np.full(len(names), NO_SLOT, np.int32),
        closable=np.zeros(len(names), np.bool_),
    )
    slots, closable = _annotate(block, bare, vocabulary)
    return replace(bare, slots=np.array(slots, np.int32), closable=np.array(closable))


def _row(index: outlines_core.Index, state: int) -> tuple[Ids, np.ndarray[Any, np.dtype[np.int64]]]:
    """The tokens that a state allows, sorted, and the states to which they lead, by the names of `outlines_core`."""
    # What may follow a complete block is not the block's business.
    allowed = [] if index.is_final_state(state) else index.get_allowed_tokens(state)
    tokens = np.sort(np.array(allowed, np.int32))
    leads = np.fromiter(map(index.get_next_state, repeat(state), tokens.tolist()), np.int64, len(tokens))
    return tokens, leads


def _annotate(block: Block, index: BlockIndex, vocabulary: Vocabulary) -> tuple[list[int], list[bool]]:
    """Walk every state byte by byte from the beginning, and note which slot it is in and whether the slot may close there."""
    slots = [NO_SLOT] * len(index.row_of)
    closable = [False] * len(index.row_of)
    match block:
        case CallBlock():
            start, inside, ending = 0, False, b'"'
        case OpenCallBlock():
            start, inside, ending = 0, False, b"\n"
        case AnswerBlock():
            found = _walk(index, vocabulary, 0, ANSWER_PREFIX.encode())
            if found is None:
                raise AssertionError("an answer block begins with its prefix")
            start, inside, ending = found, True, f"\n{ANSWER_CLOSE}\n".encode()
        case _:
            return slots, closable
    seen, queue = {start}, [(start, 0, inside)]
    while queue:
        state, field, inside = queue.pop()
        if inside:
            slots[state] = field
            closable[state] = _walk(index, vocabulary, state, ending) is not None
        for byte in range(256):
            after = index.step(state, vocabulary.of_byte[byte])
            if after is None or after in seen:
                continue
            seen.add(after)
            match block:
                case CallBlock():
                    queue.append((after, field + (byte == 0x3B and not inside), inside ^ (byte == 0x22)))
                case OpenCallBlock():
                    # The name holds no blank, so the first one leads into the text.
                    queue.append((after, 0, inside or byte == 0x20))
                case _:
                    queue.append((after, 0, True))
    return slots, closable


def _walk(index: BlockIndex, vocabulary: Vocabulary, state: int, text: bytes) -> int | None:
    for byte in text:
        after = index.step(state, vocabulary.of_byte[byte])
        if after is None:
            return None
        state = after
    return state
