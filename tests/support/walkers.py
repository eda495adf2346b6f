"""Texts written token by token under llguidance, xgrammar or the machine."""

import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import pytest

from safer_protocol.constrain.machine import Cursor
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.dialects import Dialect, plan_grammar, reply_grammar
from safer_protocol.plan import Depth, Plan
from safer_protocol.toolkit import default_toolkit

TOOLKIT = default_toolkit()
LONG = 400
"""More tokens than any answer in the tests has."""


class Walker(Protocol):
    """One text being written under a grammar."""

    def allows(self, token: int) -> bool:
        """Whether the token may come next."""

    def allowed(self) -> list[int]:
        """Which tokens may come next."""

    def advance(self, token: int) -> None:
        """Take an allowed token."""


class Guidance:
    """A text under llguidance."""

    def __init__(self, matcher: Any, size: int) -> None:
        self.matcher, self.size = matcher, size

    def allows(self, token: int) -> bool:
        mask = self.matcher.compute_bitmask()
        return bool(mask[token // 8] >> (token % 8) & 1)

    def allowed(self) -> list[int]:
        mask = int.from_bytes(self.matcher.compute_bitmask(), "little")
        return [token for token in range(min(mask.bit_length(), self.size)) if mask >> token & 1]

    def advance(self, token: int) -> None:
        assert self.matcher.consume_token(token), self.matcher.get_error()


class XGrammar:
    """A text under xgrammar."""

    def __init__(self, matcher: Any, size: int, mask: Any) -> None:
        self.matcher, self.size, self.mask = matcher, size, mask
        self.words = self.mask.numpy().view("uint32")[0]

    def allows(self, token: int) -> bool:
        self.matcher.fill_next_token_bitmask(self.mask)
        return bool(int(self.words[token // 32]) >> (token % 32) & 1)

    def allowed(self) -> list[int]:
        self.matcher.fill_next_token_bitmask(self.mask)
        mask = int.from_bytes(self.words.tobytes(), "little")
        return [token for token in range(min(mask.bit_length(), self.size)) if mask >> token & 1]

    def advance(self, token: int) -> None:
        assert self.matcher.accept_token(token)


class Machined:
    """A text under the machine."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor

    def allows(self, token: int) -> bool:
        return token in self.cursor.allowed()

    def allowed(self) -> list[int]:
        return [int(token) for token in self.cursor.allowed().ids]

    def advance(self, token: int) -> None:
        self.cursor.advance(token)


Start = Callable[[str], Walker]


def starts(tokenizer: Any) -> dict[Dialect, Start]:
    """For each dialect: how to begin a text under a grammar of it; skips the test where a library is missing."""
    llguidance, xgrammar = pytest.importorskip("llguidance"), pytest.importorskip("xgrammar")
    size = len(tokenizer)
    guidance = llguidance.LLTokenizer(tokenizer.backend_tokenizer.to_str(), eos_token=tokenizer.eos_token_id)
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, stop_token_ids=[tokenizer.eos_token_id])
    compiler = xgrammar.GrammarCompiler(info, max_threads=1)

    @lru_cache(64)
    def compiled(grammar: str) -> Any:
        matcher = llguidance.LLMatcher(guidance, grammar)
        assert not matcher.is_error(), matcher.get_error()
        return matcher

    def lark(grammar: str) -> Walker:
        return Guidance(compiled(grammar).deep_copy(), size)

    def ebnf(grammar: str) -> Walker:
        matcher = xgrammar.GrammarMatcher(compiler.compile_grammar(grammar))
        return XGrammar(matcher, size, xgrammar.allocate_token_bitmask(1, size))

    return {Dialect.LARK: lark, Dialect.EBNF: ebnf}


@lru_cache(8)
def plan_text(dialect: Dialect, depth: Depth | None = None) -> str:
    return plan_grammar(TOOLKIT, dialect, depth)


@lru_cache(64)
def reply_text(plan: Plan, dialect: Dialect, answer_tokens: int = LONG) -> str:
    return reply_grammar(TOOLKIT, plan, dialect, answer_tokens)


def tokens_of(text: str, tokenizer: Any) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return found


def takes(walker: Walker, tokens: Sequence[int], end: int) -> bool:
    """Whether a text is accepted, mask by mask."""
    for token in tokens:
        if not walker.allows(token):
            return False
        walker.advance(token)
    return walker.allows(end)


def written(tokens: Sequence[int], tokenizer: Any) -> str:
    """The text of tokens, as a server decodes it: bytes that are no character become U+FFFD."""
    table = Vocabulary.from_tokenizer(tokenizer).tokens
    return b"".join(table[token] or b"" for token in tokens).decode("utf-8", "replace")


def wander(walker: Walker, chance: random.Random, end: int) -> list[int]:
    """Take random allowed tokens to the end."""
    tokens: list[int] = []
    while len(tokens) < 5000:
        allowed = walker.allowed()
        assert allowed, "dead end"
        token = chance.choice(allowed)
        if token == end:
            return tokens
        walker.advance(token)
        tokens.append(token)
    raise AssertionError("the walk does not end")
