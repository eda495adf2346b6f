"""A batch of replies in somebody else's engine: which slot holds which, and how far each has come.

An engine says which requests enter, leave and move; what a request has written is read off its list of output tokens, never
counted by calls: chunks of a prompt are masked without writing anything, and a request that was preempted comes back with all it
has written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from safer_protocol.constrain.machine import Cursor
from safer_protocol.constrain.row import Row


@dataclass
class Followed:
    """One reply, followed through the engine's own list of its output tokens."""

    cursor: Cursor
    output: Sequence[int]
    seen: int = 0
    broken: bool = False
    """Whether the engine wrote what was not allowed; nothing but the end may follow then, and verification finds it."""

    def allowed(self) -> Row:
        """Read what is new and say what may come next."""
        while not self.broken and not self.cursor.finished and self.seen < len(self.output):
            try:
                self.cursor.advance(self.output[self.seen])
            except ValueError:
                self.broken = True
            self.seen += 1
        return self.cursor.machine.end if self.broken or self.cursor.finished else self.cursor.allowed()


class Batch:
    """The replies of an engine's slots; a slot without one is not constrained."""

    def __init__(self) -> None:
        """Begin with none."""
        self._slots: dict[int, Followed] = {}

    def enter(self, slot: int, cursor: Cursor | None, output: Sequence[int]) -> None:
        """Put a request into a slot, whatever was there before; `output` is read anew at every step."""
        self.leave(slot)
        if cursor is not None:
            self._slots[slot] = Followed(cursor, output)

    def leave(self, slot: int) -> None:
        """Empty a slot."""
        self._slots.pop(slot, None)

    def move(self, source: int, target: int) -> None:
        """Let a request take another's slot."""
        self.leave(target)
        if source in self._slots:
            self._slots[target] = self._slots.pop(source)

    def swap(self, one: int, other: int) -> None:
        """Exchange the requests of two slots."""
        first, second = self._slots.pop(one, None), self._slots.pop(other, None)
        if second is not None:
            self._slots[one] = second
        if first is not None:
            self._slots[other] = first

    def rows(self) -> tuple[list[int], list[Row]]:
        """The slots that are constrained, and what may come next in each."""
        return list(self._slots), [followed.allowed() for followed in self._slots.values()]
