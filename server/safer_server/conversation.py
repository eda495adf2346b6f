"""A conversation as it came in: who said or showed what, and by what path each part is known to the caller."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from safer_protocol.prompt import Role
from safer_server.case import PartType, UnjudgedPart
from safer_server.wire.request import AssistantMessage, ImagePart, Message, Part, TextPart


@dataclass(frozen=True)
class Said:
    """A text, or the URL of a picture, that stands at `path` in the request."""

    path: str
    type: PartType
    value: str


@dataclass(frozen=True)
class Utterance:
    """A message: its parts, and what there is of it that cannot be judged."""

    role: Role
    parts: tuple[Said, ...]
    unjudged: tuple[UnjudgedPart, ...] = ()


Conversation = tuple[Utterance, ...]


def of_messages(messages: Iterable[Message]) -> Conversation:
    """Take the messages of a chat completion or check."""
    return tuple(
        Utterance(
            "system" if message.role == "developer" else message.role, tuple(_parts(f"messages[{number}]", message))
        )
        for number, message in enumerate(messages)
    )


def _parts(at: str, message: Message) -> Iterator[Said]:
    match message.content:
        case str(text):
            yield Said(f"{at}.content", "text", text)
        case tuple(parts):
            yield from _numbered(f"{at}.content", parts)
    if isinstance(message, AssistantMessage) and message.refusal:
        yield Said(f"{at}.refusal", "text", message.refusal)


def _numbered(at: str, parts: Iterable[Part]) -> Iterator[Said]:
    for number, part in enumerate(parts):
        match part:
            case TextPart():
                yield Said(f"{at}[{number}]", "text", part.text)
            case ImagePart():
                yield Said(f"{at}[{number}]", "image", part.image_url.url)


def of_text(text: str, at: str) -> Conversation:
    """Take a text as one that a user wrote."""
    return (Utterance("user", (Said(at, "text", text),)),)


def of_parts(parts: tuple[Part, ...], at: str) -> Conversation:
    """Take parts as one message of a user."""
    return (Utterance("user", tuple(_numbered(at, parts))),)
