"""What is asked of a target: one conversation of a suite, and what its source says of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from safer_protocol.decision import Decision
from safer_training.data.records import Message

GoldKind = Literal["choice", "number", "yes_no", "text", "open"]


@dataclass(frozen=True)
class Gold:
    """The right answer to a question and how an answer is compared with it."""

    answer: str
    """A letter for `choice`, digits for `number`, `yes` or `no`; for `text` the words, other wordings split by ` | `; for `open`
    what a judge compares an answer in free words with."""
    kind: GoldKind
    choices: tuple[str, ...] = ()
    """What the letters A, B, C... stand for."""


@dataclass(frozen=True)
class Item:
    """One conversation of a suite."""

    uid: str
    """Unique in its suite, and the same whenever the suite is loaded."""
    prompt: tuple[Message, ...]
    """Messages up to where the reply begins; one that ends with the assistant's asks to have that reply judged."""
    images: tuple[Path | bytes, ...] = ()
    """Encoded pictures, or files of them, in the order of the image parts."""
    category: str = "none"
    """The source's own word for it, for figures by category."""
    expected: tuple[Decision, ...] = ()
    """The decisions that count as right, the best first; empty where the source does not say."""
    gold: Gold | None = None
    twin: str | None = None
    """Items of one twin ask the same, once where it is harmful and once where it is not."""

    @property
    def harmful(self) -> bool | None:
        """Whether allowing would be wrong; None where the source does not say."""
        return Decision.ALLOW not in self.expected if self.expected else None


@dataclass(frozen=True)
class Loaded:
    """The items of a suite as they were found, and what was missing."""

    items: tuple[Item, ...]
    missing: tuple[str, ...] = ()
    """What a complete download would have had beside these, for the report: never dropped in silence."""


Loader = Callable[[Path], Loaded]
"""Reads a folder as users download it; raises `DataError` where it is not that layout at all."""
