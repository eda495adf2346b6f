"""How each row of a part is shown: in which manner, and as which messages and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from safer_protocol.prompt import ImagePart, Turn
from safer_protocol.toolkit import Toolkit
from safer_training.conversations import show_earlier, show_follow_up, show_quoted, show_reply, show_system
from safer_training.data.pictures import PictureStore
from safer_training.data.records import ImageContent, Message, TextContent
from safer_training.phrases import scene
from safer_training.rows import HELD_OUT, Row
from safer_training.shown import (
    LONGEST_DRAWN,
    SHAPES,
    Draw,
    Shown,
    show_beside,
    show_dialogue,
    show_own_picture,
    show_text,
    show_typographic,
    shown,
)

LONGEST = 2000
"""Characters of a request; the rest of a longer one is left out."""

Manner = Literal[
    "plain", "text", "typographic", "beside", "dialogue", "follow_up", "earlier", "quoted", "system", "reply", "picture"
]
TYPOGRAPHIC = 0.2
"""Of the rows of the rarer kind, refused or not, and as many of the other."""
SHARES: Mapping[Manner, tuple[float, float]] = {
    "beside": (0.10, 0.02),
    "dialogue": (0.08, 0.08),
    "follow_up": (0.0, 0.08),
    "earlier": (0.10, 0.05),
    "quoted": (0.06, 0.05),
    "system": (0.05, 0.04),
    "reply": (0.12, 0.12),
}
"""Of the rows that are refused, and of the others, in a part. Photos nearly all come with harmless questions, so harmful ones are
put beside such photos; the rest is shown as text."""


def manners(rows: Sequence[Row], rng: Random) -> list[Manner]:
    """Deal the manners out by their shares; a picture of its own is always shown, and an exam's row as it stands."""
    dealt: dict[int, Manner] = {}
    free = [number for number, row in enumerate(rows) if row.image is None and row.set not in HELD_OUT]
    rng.shuffle(free)
    kinds = [[number for number in free if rows[number].refusing is refusing] for refusing in (True, False)]
    drawable = [[number for number in kind if _can_be_drawn(rows[number])] for kind in kinds]
    # As many of one kind as of the other, or text in a picture would come to mean one decision.
    pictures = min(round(TYPOGRAPHIC * min(map(len, kinds))), *map(len, drawable))
    for kind, (members, fit) in enumerate(zip(kinds, drawable, strict=True)):
        dealt |= dict.fromkeys(fit[:pictures], "typographic")
        left = [number for number in members if number not in dealt]
        for manner, shares in SHARES.items():
            wanted = round(shares[kind] * len(members))
            dealt |= dict.fromkeys(left[:wanted], manner)
            del left[:wanted]
    return [dealt.get(number, _without_choice(row)) for number, row in enumerate(rows)]


def _can_be_drawn(row: Row) -> bool:
    return len(row.text) <= LONGEST_DRAWN and row.text.isascii() and row.text.isprintable()


def _without_choice(row: Row) -> Manner:
    if row.image is not None:
        return "picture"
    return "plain" if row.set in HELD_OUT else "text"


@dataclass(frozen=True)
class Stage:
    """What rows are shown with: other rows, photos that say nothing, and a way to draw."""

    others: Sequence[Row]
    harmful: Sequence[Row]
    photos: Sequence[Row]
    draw: Draw
    toolkit: Toolkit

    def show(self, row: Row, manner: Manner, rng: Random) -> Shown:
        """Show a row in a manner; pictures are paths below the data folder, or drawn images."""
        toolkit = self.toolkit
        match manner:
            case "plain":
                return shown((Turn("user", (row.text,)),), row, "text", toolkit)
            case "text":
                return show_text(row, rng, toolkit, LONGEST)
            case "typographic":
                return show_typographic(row, self.draw, rng, toolkit)
            case "beside":
                if not self.photos:
                    return show_beside(row, self.draw("", rng), SHAPES, rng, toolkit, LONGEST)
                photo = rng.choice(self.photos)
                return show_beside(row, photo.image, scene(photo), rng, toolkit, LONGEST)
            case "dialogue":
                return show_dialogue(row, self.others, rng, toolkit, LONGEST)
            case "follow_up":
                return show_follow_up(row, rng.choice(self.harmful or self.others), rng, toolkit)
            case "earlier":
                return show_earlier(row, rng, toolkit)
            case "quoted":
                return show_quoted(row, rng, toolkit)
            case "system":
                return show_system(row, rng, toolkit)
            case "reply":
                return show_reply(row, rng, toolkit)
            case "picture":
                return show_own_picture(row, row.image, rng, toolkit)


def to_messages(turns: Sequence[Turn], store: PictureStore) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """Return a conversation as messages, and the paths of its pictures; drawn ones are kept in the store."""
    images: list[str] = []

    def content(part: str | ImagePart) -> TextContent | ImageContent:
        if isinstance(part, str):
            return TextContent(text=part)
        images.append(_kept(part.image, store))
        return ImageContent()

    messages = tuple(Message(role=turn.role, content=tuple(map(content, turn.parts))) for turn in turns)
    return messages, tuple(images)


def _kept(image: Any, store: PictureStore) -> str:
    return image if isinstance(image, str) else store.add_drawn(image)
