"""The grammar as data: the blocks a reply is made of, and the regular expression of each.

A block begins at the start of a line and ends in a newline. Blocks are static: they depend on the toolkit alone, never on a
request, so each is compiled once. Which block may follow which is the business of `safer_protocol.topology`.
Patterns use the syntax common to Rust's `regex` and Python's `re`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from safer_protocol.decision import Decision
from safer_protocol.fields import pattern
from safer_protocol.plan import HEAD_KEYS, Depth
from safer_protocol.text import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    PLAN_CLOSE,
    PLAN_OPEN,
    TRACE_CLOSE,
    TRACE_OPEN,
)
from safer_protocol.toolkit import Toolkit
from safer_protocol.tools import VERDICT_KEY


@dataclass(frozen=True)
class HeadBlock:
    """`<plan>` and the head; `depth` fixed by the caller or None."""

    depth: Depth | None


@dataclass(frozen=True)
class ListBlock:
    """One tool in the list of a plan."""

    tool: str


@dataclass(frozen=True)
class PlanEndBlock:
    """From the end of the plan to the beginning of the trace."""


@dataclass(frozen=True)
class CallBlock:
    """One call; `verdicts` are the words open to a gate, empty for any other tool."""

    tool: str
    verdicts: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnswerBlock:
    """From the end of the trace to the end of the answer; `decision` None where nothing decides (the open profile)."""

    decision: Decision | None


@dataclass(frozen=True)
class CloseBlock:
    """The end of an answer that has used up its budget."""


@dataclass(frozen=True)
class OpenStartBlock:
    """The beginning of a trace without a plan (the open profile)."""


@dataclass(frozen=True)
class OpenCallBlock:
    """One call of any tool with a free text (the open profile)."""


Block = HeadBlock | ListBlock | PlanEndBlock | CallBlock | AnswerBlock | CloseBlock | OpenStartBlock | OpenCallBlock

ANSWER_PREFIX = f"{TRACE_CLOSE}\n{ANSWER_OPEN}\n"


def blocks(toolkit: Toolkit) -> Iterator[Block]:
    """Yield every block that a reply may hold."""
    for depth in (None, *Depth):
        yield HeadBlock(depth)
    yield PlanEndBlock()
    for tool in toolkit.tools:
        yield ListBlock(tool.name)
        for verdicts in toolkit.verdict_variants.get(tool.name, ((),)):
            yield CallBlock(tool.name, verdicts)
    for decision in Decision:
        yield AnswerBlock(decision)
    yield CloseBlock()
    yield OpenStartBlock()
    yield OpenCallBlock()
    yield AnswerBlock(None)


def block_pattern(block: Block, toolkit: Toolkit) -> str:
    """Return the regular expression of a block, its final newline included."""
    match block:
        case HeadBlock(depth):
            words = {key: toolkit.head_words(key) for key in HEAD_KEYS}
            if depth is not None:
                words["depth"] = (depth,)
            return f"{PLAN_OPEN}\n" + "; ".join(f"{key}=({'|'.join(words[key])})" for key in HEAD_KEYS) + "\n"
        case ListBlock(tool):
            return rf"\[{tool}\]" + "\n"
        case PlanEndBlock():
            return f"{PLAN_CLOSE}\n{TRACE_OPEN}\n"
        case CallBlock(tool, verdicts):
            pairs = (
                f"{field.key}={pattern(field, verdicts if field.key == VERDICT_KEY and verdicts else None)}"
                for field in toolkit.tool(tool).fields
            )
            return rf"\[{tool}\]: " + "; ".join(pairs) + "\n"
        case AnswerBlock(decision):
            return ANSWER_PREFIX + _answer(decision, toolkit)
        case CloseBlock():
            return f"\n{ANSWER_CLOSE}\n"
        case OpenStartBlock():
            return f"{TRACE_OPEN}\n"
        case OpenCallBlock():
            return r"\[[A-Z][A-Z0-9_-]{0,39}\]: [^\n<\x00-\x1f\x7f]+" + "\n"


def _answer(decision: Decision | None, toolkit: Toolkit) -> str:
    match decision:
        case None:
            return _text_not_starting_with(())
        case Decision.ALLOW:
            return _text_not_starting_with(toolkit.openings[Decision.REFUSE])
        case Decision.SAFE_COMPLETE | Decision.REFUSE | Decision.CLARIFY:
            openings = "|".join(re.escape(opening).replace(r"\ ", " ") for opening in toolkit.openings[decision])
            return f"(?:{openings}){_REST}"


# The text of an answer is anything that does not hold `</answer>`. Only the first character of that tag is `<`, so after a
# partial match every other character leads back to plain text and another `<` to a match of one character:
# _PARTIAL is the rest of a partial match, _LEAVE a partial match broken off by another character.
_TAIL = ANSWER_CLOSE[1:]


def _partial(rest: str) -> str:
    nested = ""
    for character in reversed(rest):
        nested = f"(?:{re.escape(character)}{nested})?"
    return nested


def _leave(rest: str) -> str:
    alternatives = [re.escape(rest[:length]) + f"[^<{re.escape(rest[length])}]" for length in range(len(rest))]
    return "(?:" + "|".join(alternatives) + ")"


_PARTIAL = _partial(_TAIL[:-1])
_AGAIN = f"(?:{_PARTIAL}<)*"
_TEXT = f"(?:[^<]|<{_AGAIN}{_leave(_TAIL)})*"
_END = f"(?:\n|<{_AGAIN}{_PARTIAL}\n){ANSWER_CLOSE}\n"
_REST = _TEXT + _END


def _text_not_starting_with(prefixes: tuple[str, ...]) -> str:
    """A whole answer text, not blank at its start, that begins with none of the prefixes, and its end.

    Such a text leaves the prefixes' trie at some node, by a character that no prefix has there, by `<`, or by ending.
    """
    prefixes = tuple(one for one in prefixes if not any(one != other and one.startswith(other) for other in prefixes))
    nodes = sorted({prefix[:length] for prefix in prefixes for length in range(len(prefix))} | {""})
    leaving = []
    for node in nodes:
        following = sorted({prefix[len(node)] for prefix in prefixes if prefix.startswith(node)})
        blank = "" if node else r" \t\r\n"
        leaving.append(f"{re.escape(node)}[^<{re.escape(''.join(following))}{blank}]")
    inside = "|".join(re.escape(node) for node in nodes if node)
    by_tag = f"(?:{inside})?<{_AGAIN}(?:{_leave(_TAIL)}{_REST}|{_PARTIAL}\n{ANSWER_CLOSE}\n)"
    by_ending = f"|(?:{inside})\n{ANSWER_CLOSE}\n" if inside else ""
    return f"(?:(?:{'|'.join(leaving)}){_REST}|{by_tag}{by_ending})"
