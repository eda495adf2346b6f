"""A grammar as data, and how each dialect writes it.

Both dialects are written from the same nodes. llguidance's lexer is greedy: it reads the longest terminal that fits and never goes
back, so what repeats has to be one terminal (`Pattern`), and none that may stand at a place may run on into what follows it.
xgrammar has no terminals: there a pattern is an expression like any other. Both count the tokens of a budget most exactly, and
xgrammar masks fastest, where the rule that bears it is used in one place only.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Dialect(StrEnum):
    """Who reads the grammar."""

    LARK = "lark"
    """llguidance (vLLM's `guidance` backend)."""
    EBNF = "ebnf"
    """xgrammar."""


@dataclass(frozen=True)
class Literal:
    """The text itself."""

    text: str


@dataclass(frozen=True)
class Chars:
    """One character of a class; `body` is written as in a regular expression, brackets included. Only within a pattern."""

    body: str


@dataclass(frozen=True)
class Star:
    """Any number of times. Only within a pattern."""

    node: "Node"


@dataclass(frozen=True)
class Maybe:
    """Once or not at all. Only within a pattern."""

    node: "Node"


@dataclass(frozen=True)
class Pattern:
    """What a greedy lexer reads as one terminal; holds no reference."""

    node: "Node"


@dataclass(frozen=True)
class Ref:
    """Another rule."""

    name: str


@dataclass(frozen=True)
class Seq:
    """One after the other."""

    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Alt:
    """One of them."""

    options: tuple["Node", ...]


Node = Literal | Chars | Star | Maybe | Pattern | Ref | Seq | Alt


def seq(*parts: "Node | str") -> Node:
    """A sequence; strings stand for themselves."""
    nodes = tuple(Literal(part) if isinstance(part, str) else part for part in parts)
    return nodes[0] if len(nodes) == 1 else Seq(nodes)


def alt(options: Sequence["Node | str"]) -> Node:
    """A choice; strings stand for themselves."""
    nodes = tuple(Literal(option) if isinstance(option, str) else option for option in options)
    return nodes[0] if len(nodes) == 1 else Alt(nodes)


def words(choices: Sequence[str]) -> Node:
    """One of the words, as one terminal where there are several."""
    return Pattern(alt(choices)) if len(choices) > 1 else Literal(choices[0])


def none_of(characters: str) -> Chars:
    """Any character but these."""
    return Chars("[^" + "".join(_escape(character) for character in characters) + "]")


def _escape(character: str) -> str:
    """A character as regular expressions and classes of both dialects write it."""
    if character.isascii() and (character.isalnum() or character in " ,;:=_'!<>"):
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


class Rules:
    """The rules of one grammar. Rules of equal body are one rule, so states of equal future are one state."""

    def __init__(self, dialect: Dialect) -> None:
        """Begin with no rules."""
        self.dialect = dialect
        self._named: dict[str, Ref] = {}
        self._lines: list[str] = []

    def rule(self, body: Node) -> Ref:
        """Return the rule with this body."""
        if isinstance(body, Ref):
            return body
        written = self._expression(body)
        if written not in self._named:
            self._named[written] = self._add("s", "", written)
        return self._named[written]

    def text(self, pattern: Node, tokens: int) -> Ref:
        """Return a new rule for a text of at most so many tokens; to be used in one place only."""
        return self._add("q", f"[max_tokens={tokens}]", self._expression(Pattern(pattern)))

    def write(self, start: Node) -> str:
        """Return the grammar's text."""
        return "\n".join([*self._lines, self._line("start", "", self._expression(start)), ""])

    def _add(self, stem: str, option: str, body: str) -> Ref:
        name = f"{stem}{len(self._lines)}"
        self._lines.append(self._line(name, option, body))
        return Ref(name)

    def _line(self, name: str, option: str, body: str) -> str:
        match self.dialect:
            case Dialect.LARK:
                return f"{name}{option}: {body}"
            case Dialect.EBNF:
                return f"{'root' if name == 'start' else name}{option} ::= {body}"

    def _expression(self, node: Node) -> str:
        match node:
            case Literal(text):
                return json.dumps(text, ensure_ascii=False)
            case Chars(body):
                return body
            case Star(inner):
                return f"({self._expression(inner)})*"
            case Maybe(inner):
                return f"({self._expression(inner)})?"
            case Pattern(inner):
                return f"/{_regex(inner)}/" if self.dialect is Dialect.LARK else f"({self._expression(inner)})"
            case Ref(name):
                return name
            case Seq(parts):
                return " ".join(self._grouped(part) for part in parts)
            case Alt(options):
                return " | ".join(self._expression(option) for option in options)

    def _grouped(self, node: Node) -> str:
        written = self._expression(node)
        return f"({written})" if isinstance(node, Alt) else written


def _regex(node: Node) -> str:
    match node:
        case Literal(text):
            return "".join(_escape(character) for character in text)
        case Chars(body):
            return body
        case Star(inner):
            return f"(?:{_regex(inner)})*"
        case Maybe(inner):
            return f"(?:{_regex(inner)})?"
        case Pattern(inner):
            return f"(?:{_regex(inner)})"
        case Seq(parts):
            return "".join(f"(?:{_regex(part)})" if isinstance(part, Alt) else _regex(part) for part in parts)
        case Alt(options):
            return "|".join(_regex(option) for option in options)
        case Ref(name):
            raise AssertionError(f"the pattern of a terminal refers to {name}")
