"""The reserve: how many tokens a reply may still need, so that it closes before a limit instead of being cut off by it.

Where a limit comes near, a cursor *hurries*: texts end at once, and where one text only can come next it is written in the longest
tokens that there are. The reserve is the most tokens that any reply can take from here in a hurry, whatever the model chooses.
"""

from collections.abc import Iterable
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from safer_protocol.constrain.index import NO_SLOT
from safer_protocol.constrain.row import Row
from safer_protocol.grammar import AnswerBlock, CallBlock, CloseBlock

if TYPE_CHECKING:
    from safer_protocol.constrain.machine import Active, Machine

_ROWS_KEPT = 512


class Reserve:
    """Token counts to the end of a block in a hurry, by what is active."""

    def __init__(self, machine: "Machine") -> None:
        """Count lazily; counts are kept, they are few."""
        self._machine = machine
        self._of_bytes = machine.vocabulary.by_bytes
        self.row = lru_cache(_ROWS_KEPT)(self._row)
        self.longest = cache(self._longest)
        self.longest_after_any = cache(self._longest_after_any)
        self._choices = cache(self._tokens)
        self._forced = cache(self._forced_text)

    def _row(self, active: "Active") -> Row:
        """The tokens that a hurried cursor may choose from."""
        return Row.of(np.array(self._choices(active), np.int32), len(self._machine.vocabulary.tokens))

    def _tokens(self, active: "Active") -> tuple[int, ...]:
        """The tokens of a hurry.

        Left out are those that begin a text, and those after which the text of a longer one has to follow anyway.
        """
        row, tokens = self._closing(active), self._machine.vocabulary.tokens
        outside = not self._in_text(active)
        kept = []
        for token in row.ids.tolist():
            text, after = tokens[token] or b"", self._machine.step(active, token)
            if outside and not text.endswith(b'"') and self._in_text(after):
                continue
            forced = self._forced(after)
            longer = (self._of_bytes.get(text + forced[:length], ()) for length in range(1, len(forced) + 1))
            if not any(other in row for ids in longer for other in ids):
                kept.append(token)
        return tuple(kept)

    def _in_text(self, active: "Active") -> bool:
        return isinstance(self._machine.blocks[active[0][0]], CallBlock) and self._slot(active) != NO_SLOT

    def _longest(self, active: "Active") -> int:
        """The most tokens from here to the end of the block, in a hurry."""
        if self._ends(active):
            return 0
        if self._cuts(active):
            return self.longest(self._close)
        return 1 + max(self.longest(after) for after in self._steps(active, self._choices(active)))

    def _longest_after_any(self, active: "Active") -> int:
        """The most tokens from here to the end of the block, if the next one is chosen freely and the rest in a hurry."""
        if self._ends(active):
            return 0
        if len(active) == 1:
            number, state = active[0]
            index = self._machine.indexes[number]
            targets = {*index.listed[state].values(), index.usual_of[state]} - {-1}
            return 1 + max(self.longest(((number, target),)) for target in targets)
        return 1 + max(self.longest(after) for after in self._steps(active, self._closing(active).ids.tolist()))

    def _steps(self, active: "Active", tokens: Iterable[int]) -> "set[Active]":
        return {self._machine.step(active, token) for token in tokens}

    def _closing(self, active: "Active") -> Row:
        if len(active) > 1:
            return self._machine.union(active)
        number, state = active[0]
        if self._slot(active) == NO_SLOT:
            return self._machine.indexes[number].rows[state]
        return self._machine.closing_row(number, state)

    def _slot(self, active: "Active") -> int:
        number, state = active[0]
        return self._machine.indexes[number].slot_of[state]

    def _forced_text(self, active: "Active") -> bytes:
        """The bytes that must come next in a hurry."""
        if self._ends(active) or self._cuts(active):
            return b""
        single = Row(self._closing(active).bits & self._machine.vocabulary.single_bytes.bits)
        if single.count != 1:
            return b""
        (token,) = single.ids.tolist()
        return (self._machine.vocabulary.tokens[token] or b"") + self._forced(self._machine.step(active, token))

    def _ends(self, active: "Active") -> bool:
        return any(self._machine.indexes[number].ends[state] for number, state in active)

    def _cuts(self, active: "Active") -> bool:
        """Whether a hurried answer is closed here."""
        number, state = active[0]
        is_answer = isinstance(self._machine.blocks[number], AnswerBlock)
        return is_answer and bool(self._machine.indexes[number].closable[state])

    @property
    def _close(self) -> "Active":
        return ((self._machine.numbers[CloseBlock()], 0),)
