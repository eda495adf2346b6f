"""The kinds of field a tool may have, and the one way each is written, read and checked.

A value is written bare (`yes`, `high`, `93`), as a quoted text (`"..."`) or as a list of quoted texts (`["...", "..."]`).
Texts have no escapes: the characters that would need one (`"`, a backslash, control characters) and `<`, which would let a
text look like a tag, are outside the form.
"""

import re
import unicodedata
from typing import Annotated, Literal

from pydantic import Field as PydanticField

from safer_protocol.decision import Risk
from safer_protocol.errors import ValueFormError
from safer_protocol.frozen import Frozen

Value = bool | int | str | tuple[str, ...]
Key = Annotated[str, PydanticField(pattern=r"^[a-z][a-z0-9_]*$")]
Word = Annotated[str, PydanticField(pattern=r"^[a-z][a-z0-9_]*$")]

TEXT_CLASS = r'[^"\\<\x00-\x1f\x7f]'
_TEXT = re.compile(r'[^"\\<\x00-\x1f\x7f\ud800-\udfff]*')
_LIST = re.compile(r'\[(?:"[^"]*"(?:, "[^"]*")*)?\]')
_QUOTED = re.compile(r'"([^"]*)"')

MAX_TOKEN_BYTES = 256
"""No vocabulary that the mask machine accepts has a longer token."""


class Flag(Frozen):
    """Yes or no."""

    kind: Literal["flag"] = "flag"
    key: Key


class Level(Frozen):
    """A risk level."""

    kind: Literal["level"] = "level"
    key: Key


class Choice(Frozen):
    """One of the given words."""

    kind: Literal["choice"] = "choice"
    key: Key
    words: tuple[Word, ...] = PydanticField(min_length=1)


class Score(Frozen):
    """A whole number from 0 to 100."""

    kind: Literal["score"] = "score"
    key: Key


class Text(Frozen):
    """One line of text of at most `budget` tokens at standard depth."""

    kind: Literal["text"] = "text"
    key: Key
    budget: int = PydanticField(default=24, ge=1)


class Texts(Frozen):
    """At most `items` texts of at most `budget` tokens each at standard depth."""

    kind: Literal["texts"] = "texts"
    key: Key
    items: int = PydanticField(default=4, ge=1, le=8)
    budget: int = PydanticField(default=8, ge=1)


Field = Annotated[Flag | Level | Choice | Score | Text | Texts, PydanticField(discriminator="kind")]


def bare_words(field: Flag | Level | Choice) -> tuple[str, ...]:
    """The words that a closed field may hold, as written."""
    match field:
        case Flag():
            return ("yes", "no")
        case Level():
            return tuple(Risk)
        case Choice():
            return field.words


def pattern(field: Field, words: tuple[str, ...] | None = None) -> str:
    """Return a regular expression (Rust and Python syntax) of the written values; `words` narrows a closed field."""
    match field:
        case Flag() | Level() | Choice():
            return "(?:" + "|".join(words or bare_words(field)) + ")"
        case Score():
            return "(?:[0-9]|[1-9][0-9]|100)"
        case Text():
            return f'"{TEXT_CLASS}*"'
        case Texts():
            item = f'"{TEXT_CLASS}*"'
            rest = ""
            for _ in range(field.items - 1):
                rest = f"(?:, {item}{rest})?"
            return rf"\[(?:{item}{rest})?\]"


def write_value(field: Field, value: Value) -> str:
    """Write a value of any length; raise `ValueFormError` where its type or range is wrong."""
    problem = fault(field, value, None)
    if problem is not None:
        raise ValueFormError(f"{field.key}: {problem[1]}")
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return str(value)
        case tuple():
            return "[" + ", ".join(f'"{item}"' for item in value) + "]"
        case str():
            return f'"{value}"' if isinstance(field, Text) else value


def read_value(field: Field, raw: str) -> Value:
    """Read a written value; raise `ValueFormError` where it has not the form of the field's kind."""
    match field:
        case Flag() if raw in ("yes", "no"):
            return raw == "yes"
        case Score() if raw.isascii() and raw.isdigit() and len(raw) <= 9:
            return int(raw)
        case Level() | Choice() if raw and raw[0] not in '"[':
            return raw
        case Text() if len(raw) >= 2 and raw[0] == raw[-1] == '"':
            return raw[1:-1]
        case Texts() if _LIST.fullmatch(raw):
            return tuple(_QUOTED.findall(raw))
    raise ValueFormError(f"{field.key}: not a {field.kind}")


def fault(field: Field, value: Value, scale: float | None) -> tuple[str, str] | None:
    """What is wrong with a value, as (`type` | `range` | `budget`, message), or None.

    `scale` multiplies text budgets; None leaves budgets unchecked.
    """
    match field, value:
        case Flag(), bool():
            return None
        case ((Level() | Choice()), str()):
            words = bare_words(field)
            return None if value in words else ("range", f"not one of {', '.join(words)}")
        case Score(), int() if not isinstance(value, bool):
            return None if 0 <= value <= 100 else ("range", "not within 0 to 100")
        case Text(), str():
            return _text_fault(field, value, scale)
        case Texts(), tuple():
            if len(value) > field.items:
                return "range", f"more than {field.items} items"
            faults = (_text_fault(field, item, scale) for item in value)
            return next((found for found in faults if found), None)
    return "type", f"not a {field.kind}"


def budget(field: Text | Texts, scale: float) -> int:
    """Tokens that one text of the field may have at a depth's scale."""
    return max(1, int(field.budget * scale))


def _text_fault(field: Text | Texts, value: str, scale: float | None) -> tuple[str, str] | None:
    if not _TEXT.fullmatch(value):
        return "type", "holds a quote, backslash, < or control character"
    if scale is not None and fewest_tokens(value) > budget(field, scale):
        return "budget", f"longer than {budget(field, scale)} tokens"
    return None


def fewest_tokens(text: str) -> int:
    """Return a lower bound on the tokens of a text that holds for every vocabulary the mask machine accepts.

    A token of a byte-level BPE never holds parts of two runs of letters or digits, nor more than `MAX_TOKEN_BYTES` bytes, so a
    verifier without a tokenizer can tell that a budget was broken, and never says so wrongly.
    """
    return max(count_runs(text), -(-len(text.encode("utf-8", "surrogatepass")) // MAX_TOKEN_BYTES))


def count_runs(text: str) -> int:
    """Count the maximal runs of letters and of digits; combining marks belong to the run they stand in."""
    runs, last = 0, ""
    for character in text:
        kind = unicodedata.category(character)[0]
        if kind == "M":
            continue
        if kind in "LN" and kind != last:
            runs += 1
        last = kind
    return runs
