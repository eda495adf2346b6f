"""Token bytes of a tokenizer, checked for what makes the mask machine exact."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import outlines_core

from safer_protocol.constrain.row import Row
from safer_protocol.errors import VocabularyError
from safer_protocol.fields import MAX_TOKEN_BYTES, count_runs

END = "<|im_end|>"
END_OF_CUT = "<|endoftext|>"


def _bytes_of_characters() -> Mapping[str, int]:
    """The byte each character stands for in a byte-level BPE (GPT-2's table: printable bytes stand for themselves)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    return table | {chr(256 + position): byte for position, byte in enumerate(others)}


@dataclass(frozen=True)
class Vocabulary:
    """The bytes of every token that text may use; None for special tokens and unused ids.

    Raises `VocabularyError` unless every byte is a token, no token has a byte after its last newline (so blocks never share a
    token), and no token holds parts of two words or more than `MAX_TOKEN_BYTES` bytes (so budgets can be verified from text).
    """

    tokens: Sequence[bytes | None]
    eos: int
    end_of_cut: int
    """Ends a reply whose answer was cut, so that whoever sees the tokens alone can tell it from a complete one."""

    def __post_init__(self) -> None:
        """Check the three properties."""
        missing = sum(bytes([byte]) not in self.by_bytes for byte in range(256))
        if missing:
            raise VocabularyError(f"{missing} of 256 bytes are no token: use a byte-level BPE tokenizer")
        for token in self.by_bytes:
            if b"\n" in token and not token.endswith(b"\n"):
                raise VocabularyError(f"token {token!r} goes on after a newline: blocks would share it")
            # The piece of a character that is split between tokens may turn out to be a letter.
            if len(token) > MAX_TOKEN_BYTES or count_runs(token.decode("utf-8", "replace").replace("\ufffd", "a")) > 1:
                raise VocabularyError(
                    f"token {token!r} spans two words or is too long: token budgets could not be verified"
                )

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> "Vocabulary":
        """Read a Hugging Face byte-level BPE tokenizer with the end tokens of Qwen."""
        table = _bytes_of_characters()
        special = set(tokenizer.added_tokens_decoder)
        vocabulary: dict[str, int] = tokenizer.get_vocab()
        tokens: list[bytes | None] = [None] * (max(vocabulary.values()) + 1)
        for text, token in vocabulary.items():
            if token in special:
                continue
            if not set(text) <= table.keys():
                raise VocabularyError(f"token {text!r} is not byte-level: use a byte-level BPE tokenizer")
            tokens[token] = bytes(table[character] for character in text)
        for end in (END, END_OF_CUT):
            if end not in vocabulary:
                raise VocabularyError(f"the tokenizer has no {end}")
        return cls(tokens, vocabulary[END], vocabulary[END_OF_CUT])

    @cached_property
    def by_bytes(self) -> Mapping[bytes, list[int]]:
        """Token ids by their bytes."""
        found: dict[bytes, list[int]] = {}
        for token, text in enumerate(self.tokens):
            if text:
                found.setdefault(text, []).append(token)
        return found

    @cached_property
    def of_byte(self) -> Sequence[int]:
        """For each byte the token that is that byte alone."""
        return [self.by_bytes[bytes([byte])][0] for byte in range(256)]

    @cached_property
    def begins_with_quote(self) -> Row:
        """The tokens that begin with a double quote."""
        return self._row(lambda text: text.startswith(b'"'))

    @cached_property
    def begins_with_newline(self) -> Row:
        """The tokens that begin with a newline."""
        return self._row(lambda text: text.startswith(b"\n"))

    @cached_property
    def single_bytes(self) -> Row:
        """The tokens of one byte."""
        return self._row(lambda text: len(text) == 1)

    def _row(self, chosen: Callable[[bytes], bool]) -> Row:
        ids = [token for token, text in enumerate(self.tokens) if text is not None and chosen(text)]
        return Row.of(np.array(ids, np.int32), len(self.tokens))

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the token bytes in their order and of the end token, as 64 hexadecimal digits."""
        digest = hashlib.sha256(str(self.eos).encode())
        for text in self.tokens:
            digest.update(b"-" if text is None else b"%d:%b" % (len(text), text))
        return digest.hexdigest()

    @cached_property
    def for_outlines(self) -> outlines_core.Vocabulary:
        """The same vocabulary as `outlines_core` takes it; the end token stands in no block."""
        return outlines_core.Vocabulary(self.eos, dict(self.by_bytes))
