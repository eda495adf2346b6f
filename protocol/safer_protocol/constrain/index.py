"""A block compiled for a vocabulary: states, the tokens each allows, and which text each state is inside of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import outlines_core

from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.grammar import ANSWER_PREFIX, AnswerBlock, Block, CallBlock, block_pattern
from safer_protocol.toolkit import Toolkit

Ids = np.ndarray[Any, np.dtype[np.int32]]

NO_SLOT = -1


@dataclass(frozen=True)
class BlockIndex:
    """Token-level automaton of one block; state 0 is its beginning.

    A *slot* is a stretch of text with a budget. `slots[state]` says which one a state is inside of: the position of the field in a
    call, 0 in an answer, `NO_SLOT` elsewhere. `closable[state]` says whether the text may end there (False in the middle of a
    character or of an opening).
    """

    tokens: Sequence[Ids]
    """By state: allowed token ids, sorted."""
    targets: Sequence[Ids]
    """By state: the state each of those leads to."""
    final: frozenset[int]
    slots: Sequence[int]
    closable: Sequence[bool]

    def step(self, state: int, token: int) -> int | None:
        """Return the state after a token, or None where the token is not allowed."""
        tokens = self.tokens[state]
        position = int(np.searchsorted(tokens, token))
        if position == len(tokens) or tokens[position] != token:
            return None
        return int(self.targets[state][position])


def compile_block(block: Block, toolkit: Toolkit, vocabulary: Vocabulary) -> BlockIndex:
    """Compile a block; takes milliseconds on a vocabulary of thousands, up to a second on one of 150,000 tokens."""
    index = outlines_core.Index(block_pattern(block, toolkit), vocabulary.for_outlines)
    transitions: dict[int, dict[int, int]] = index.get_transitions()
    finals: set[int] = index.get_final_states()
    order = {index.get_initial_state(): 0}
    for state in transitions:
        order.setdefault(state, len(order))
    for state in finals:
        order.setdefault(state, len(order))
    tokens: list[Ids] = [np.empty(0, np.int32)] * len(order)
    targets: list[Ids] = [np.empty(0, np.int32)] * len(order)
    for state, row in transitions.items():
        if state in finals:
            continue
        pairs = sorted((token, order[target]) for token, target in row.items() if token != vocabulary.eos)
        tokens[order[state]] = np.array([token for token, _ in pairs], np.int32)
        targets[order[state]] = np.array([target for _, target in pairs], np.int32)
    bare = BlockIndex(tokens, targets, frozenset(order[state] for state in finals), [], [])
    slots, closable = _annotate(block, bare, vocabulary)
    return BlockIndex(tokens, targets, bare.final, slots, closable)


def _annotate(block: Block, index: BlockIndex, vocabulary: Vocabulary) -> tuple[list[int], list[bool]]:
    """Walk every state byte by byte from the beginning, and note which slot it is in and whether the slot may close there."""
    slots = [NO_SLOT] * len(index.tokens)
    closable = [False] * len(index.tokens)
    match block:
        case CallBlock():
            start, ending = 0, b'"'
        case AnswerBlock():
            found = _walk(index, vocabulary, 0, ANSWER_PREFIX.encode())
            if found is None:
                raise AssertionError("an answer block begins with its prefix")
            start, ending = found, b"\n</answer>\n"
        case _:
            return slots, closable
    in_answer = isinstance(block, AnswerBlock)
    seen, queue = {start}, [(start, 0, in_answer)]
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
            quote, semicolon = not in_answer and byte == 0x22, not inside and byte == 0x3B
            queue.append((after, field + semicolon, inside ^ quote))
    return slots, closable


def _walk(index: BlockIndex, vocabulary: Vocabulary, state: int, text: bytes) -> int | None:
    for byte in text:
        after = index.step(state, vocabulary.of_byte[byte])
        if after is None:
            return None
        state = after
    return state
