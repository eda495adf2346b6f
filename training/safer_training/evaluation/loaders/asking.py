"""How questions are put, in our own words: what form an answer should have is said after the question."""

import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase

from safer_training.data.records import ImageContent, Message, TextContent

LETTER = "Answer with the letter of the right choice."
YES_OR_NO = "Answer yes or no."
NUMBER = "Give the answer as a number."
SHORTLY = "Answer in a word or a few."

_MARK = re.compile(r"<image (\d+)>")


def with_choices(question: str, choices: Sequence[str]) -> str:
    """Return a question with its lettered choices."""
    lettered = [f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False)]
    return "\n".join([question.strip(), *lettered, LETTER])


def interleaved(text: str, pictures: Mapping[int, bytes]) -> tuple[tuple[Message, ...], tuple[bytes, ...]]:
    """Return a user's message with pictures where the text first marks them as `<image N>`; those it does not mark go before.

    Raises `ValueError` where it marks one that is not there.
    """
    parts: list[TextContent | ImageContent] = []
    shown: list[int] = []
    marked = {int(mark) for mark in _MARK.findall(text)}
    if marked - set(pictures):
        raise ValueError("a picture that the text marks is not there")
    for number in sorted(set(pictures) - marked):
        parts.append(ImageContent())
        shown.append(number)
    for place, piece in enumerate(_MARK.split(text)):
        if place % 2 == 0:
            if piece.strip():
                parts.append(TextContent(text=piece.strip("\n")))
        elif int(piece) in shown:
            parts.append(TextContent(text=f"(picture {piece})"))
        else:
            parts.append(ImageContent())
            shown.append(int(piece))
    return (Message(role="user", content=tuple(parts)),), tuple(pictures[number] for number in shown)
