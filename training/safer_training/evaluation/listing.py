"""What a run keeps of its items, for judges and reports: all but the pictures' bytes."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from safer_protocol.decision import Decision
from safer_protocol.frozen import Frozen
from safer_training.data.records import Message, TextContent
from safer_training.evaluation.item import Gold, Item


class Listed(Frozen):
    """One line of `items.jsonl`."""

    uid: str
    category: str
    expected: tuple[Decision, ...]
    gold: Gold | None
    twin: str | None
    judged: Literal["request", "reply"]
    """Whose words are in question."""
    request: str
    """The conversation as text: that of a single message, else each message's behind its role."""
    images: tuple[str, ...]
    """SHA-256 of each picture, or the name of a file that is not there."""
    files: tuple[str | None, ...]
    """Where each picture was found; None for one that was inside a table."""


def listed(item: Item) -> Listed:
    """List an item."""
    return Listed(
        uid=item.uid,
        category=item.category,
        expected=item.expected,
        gold=item.gold,
        twin=item.twin,
        judged="reply" if item.prompt[-1].role == "assistant" else "request",
        request=as_text(item.prompt),
        images=tuple(map(_name, item.images)),
        files=tuple(None if isinstance(image, bytes) else str(image) for image in item.images),
    )


def as_text(prompt: Sequence[Message]) -> str:
    """Write a conversation as text, without its pictures."""
    texts = [text_of(message) for message in prompt]
    if len(prompt) == 1:
        return texts[0]
    return "\n".join(f"[{message.role}] {text}" for message, text in zip(prompt, texts, strict=True))


def text_of(message: Message) -> str:
    """Return the texts of a message, joined by newlines."""
    return "\n".join(part.text for part in message.content if isinstance(part, TextContent))


def _name(image: Path | bytes) -> str:
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    if not image.is_file():
        return image.name
    with image.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(items: Iterable[Listed]) -> str:
    """SHA-256 of the items in their order, wherever their pictures lie."""
    found = hashlib.sha256()
    for item in items:
        found.update(item.model_dump_json(exclude={"files"}).encode() + b"\n")
    return found.hexdigest()


def some(items: Sequence[Item], limit: int | None) -> tuple[Item, ...]:
    """Choose about `limit` items by the hash of their names, twins together, in their order; the same ones every time."""
    if limit is None or limit >= len(items):
        return tuple(items)
    names = sorted({_kin(item) for item in items}, key=lambda name: hashlib.sha256(name.encode()).digest())
    kin: dict[str, list[Item]] = {name: [] for name in names}
    for item in items:
        kin[_kin(item)].append(item)
    chosen: set[str] = set()
    for related in kin.values():
        if len(chosen) >= limit:
            break
        chosen |= {item.uid for item in related}
    return tuple(item for item in items if item.uid in chosen)


def _kin(item: Item) -> str:
    return f"item {item.uid}" if item.twin is None else f"twin {item.twin}"
