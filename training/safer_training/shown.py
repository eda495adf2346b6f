"""How a row is shown to the model: reworded, in a conversation, or as a picture."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from safer_protocol.prompt import ImagePart, Turn
from safer_protocol.reply import Reply
from safer_protocol.toolkit import Toolkit
from safer_training.rows import Row
from safer_training.teacher import Form, teach

Draw = Callable[..., Any]
"""Makes a picture of a text and a `Random`: `glyphs.Cells`, `render.Picture` or a PIL image; of an empty text, one without text."""

BEFORE = (
    "Please ",
    "Hi, ",
    "Hello! ",
    "Quick question: ",
    "Question: ",
    "Hey. ",
    "Tell me, ",
    "I was wondering: ",
    "OK so ",
)
AFTER = (
    " Thanks!",
    " Please.",
    " Keep it short.",
    " Thank you in advance.",
    " Answer in detail.",
    " I'm curious.",
    " :)",
)
SYSTEM = (
    "You are a helpful assistant.",
    "You are a careful assistant. Answer briefly.",
    "Answer the user's questions.",
    "You are an assistant for customers of a shop.",
    "Be concise and friendly.",
)
ASK = (
    "Answer the request in the picture.",
    "What does the picture ask? Please answer it.",
    "Please read the image and respond.",
    "Can you help me with this?",
    "Follow the text in the image.",
    "What should I do about the question in this image?",
    "The image shows a list with empty points. Write the content of each point.",
    "Complete the numbered list in the picture with detailed items.",
    "",
)
ASK_PHOTO = ("Describe this picture.", "What can be seen here?", "What is in the image?", "Caption this photo.", "")
LEAD = (
    ("I have a question.", "Of course, what is it?"),
    ("Hello!", "Hello! How can I help?"),
    ("Can I ask you something?", "Sure. Please go ahead."),
    ("Thanks for your help earlier.", "You are welcome. Is there anything else?"),
)
SHAPES = "coloured shapes"
"""What a picture without text shows that was drawn."""
LONGEST, LONGEST_DRAWN = 320, 120
"""Characters of a request in training; the rest of a long one is left out to save time."""

_HOW = re.compile(
    r"^(?:how|what is the best way|what's the best way)(?: do| can| could| would| should)?(?: i| you| one| we)? (?:to )?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Shown:
    """A row shown in a form as a conversation, and the reply that the teacher gives to it."""

    turns: tuple[Turn, ...]
    row: Row
    form: Form
    reply: Reply


def shown(turns: tuple[Turn, ...], row: Row, form: Form, toolkit: Toolkit) -> Shown:
    """Let the teacher reply to a conversation that shows a row."""
    return Shown(turns, row, form, teach(row, form, toolkit))


def reword(text: str, rng: Random) -> str:
    """Return a text with another opening, ending, case or punctuation, which leave its meaning alone."""
    if rng.random() < 0.1:
        text = as_heading(text, rng)
    if rng.random() < 0.25:
        before = rng.choice(BEFORE)
        text = before + (
            text[:1].lower() + text[1:] if before.endswith((" ", ", ")) and not text.startswith("I ") else text
        )
    if rng.random() < 0.15:
        text = text.rstrip(" .") + ("" if text.endswith("?") else ".") + rng.choice(AFTER)
    if rng.random() < 0.15:
        text = text.rstrip("?.! ")
    chance = rng.random()
    return text.lower() if chance < 0.2 else text.upper() if chance < 0.22 else text


def as_heading(text: str, rng: Random) -> str:
    """Turn a question of how into the heading of a list; leave other texts as they are."""
    rest = _HOW.sub("", text, count=1)
    if rest == text or not rest:
        return text
    opening = rng.choice(("Ways to", "Steps to", "Methods to", "List of ways to", "Tips to", "A guide to how to"))
    return f"{opening} {rest.rstrip('? ')}."


def cut(text: str, most: int) -> str:
    """Return the words of a text that fit into a number of characters."""
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0]


def show_text(row: Row, rng: Random, toolkit: Toolkit, longest: int = LONGEST) -> Shown:
    """Show a row as one message, now and then behind a system prompt."""
    turns = (Turn("user", (reword(cut(row.text, longest), rng),)),)
    return shown(_system(rng) + turns, row, "text", toolkit)


def show_dialogue(row: Row, others: Sequence[Row], rng: Random, toolkit: Toolkit, longest: int = LONGEST) -> Shown:
    """Show a row as the last message of a conversation: behind small talk, behind another request, or in two halves."""
    text = reword(cut(row.text, longest), rng)
    words = text.split()
    chance = rng.random()
    if chance < 0.3 and len(words) > 5:
        middle = rng.randint(2, len(words) - 2)
        before, reply = " ".join(words[:middle]), rng.choice(("Go on.", "Yes?", "I am listening."))
        text = " ".join(words[middle:])
    elif chance < 0.65:
        other = rng.choice(others)
        before, reply = cut(other.text, 200), teach(other, "text", toolkit).answer or ""
    else:
        before, reply = rng.choice(LEAD)
    turns = (Turn("user", (before,)), Turn("assistant", (reply,)), Turn("user", (text,)))
    return shown(_system(rng) + turns, row, "dialogue", toolkit)


def show_picture(row: Row, draw: Draw, rng: Random, toolkit: Toolkit) -> Shown:
    """Show a row as a picture of its text, or as its text beside a picture that says nothing."""
    if rng.random() < 0.2:
        return show_beside(row, draw("", rng), SHAPES, rng, toolkit, LONGEST_DRAWN)
    return show_typographic(row, draw, rng, toolkit)


def show_typographic(row: Row, draw: Draw, rng: Random, toolkit: Toolkit) -> Shown:
    """Show a row as a picture of its text."""
    text = cut(row.text, LONGEST_DRAWN)
    text = as_heading(text, rng) if rng.random() < 0.5 else text
    parts = _ordered(ImagePart(draw(text, rng)), rng.choice(ASK), rng)
    return shown((Turn("user", parts),), row.model_copy(update={"prompt": text}), "typographic", toolkit)


def show_beside(row: Row, image: Any, scene: str, rng: Random, toolkit: Toolkit, longest: int) -> Shown:
    """Show a row as its text beside a picture of some scene that says nothing about it."""
    parts = _ordered(ImagePart(image), reword(cut(row.text, longest), rng), rng)
    return shown((Turn("user", parts),), row.model_copy(update={"facts": {"beside": scene}}), "photo", toolkit)


def show_own_picture(row: Row, image: Any, rng: Random, toolkit: Toolkit) -> Shown:
    """Show a row whose request is about a picture of its own, or is written in it."""
    text = row.text if row.pictured is None else rng.choice(ASK[:-1])
    parts = _ordered(ImagePart(image), text, rng)
    return shown((Turn("user", parts),), row, "photo" if row.pictured is None else "typographic", toolkit)


def _ordered(image: ImagePart, text: str, rng: Random) -> tuple[str | ImagePart, ...]:
    parts: list[str | ImagePart] = [image, text]
    if rng.random() < 0.3:
        parts.reverse()
    return tuple(part for part in parts if part)


def show_reading(row: Row, draw: Draw, rng: Random, toolkit: Toolkit) -> Shown:
    """Show a picture of some words of a row, for an exercise in reading; its decision means nothing."""
    words = row.text.split() or ["?"]
    start, length = rng.randrange(len(words)), rng.choice((1, 1, 2, 3, 4, 6, 9))
    text = cut(" ".join(words[start : start + length]), 60)
    turns = (Turn("user", (ImagePart(draw(text, rng)), rng.choice(ASK))),)
    return shown(turns, row.model_copy(update={"prompt": text}), "typographic", toolkit)


def show_spelling(row: Row, draw: Draw, rng: Random, toolkit: Toolkit) -> Shown:
    """Show a picture of some words of a row and ask for nothing, for an exercise in spelling."""
    words = row.text.split() or ["?"]
    text = cut(" ".join(words[rng.randrange(len(words)) :]), LONGEST_DRAWN)
    return shown((Turn("user", (ImagePart(draw(text, rng)),)),), row, "typographic", toolkit)


def _system(rng: Random) -> tuple[Turn, ...]:
    return (Turn("system", (rng.choice(SYSTEM),)),) if rng.random() < 0.12 else ()
