"""The tokens that are allowed at one place."""

from functools import cached_property
from typing import Any

import numpy as np

Ids = np.ndarray[Any, np.dtype[np.int32]]
Bits = np.ndarray[Any, np.dtype[np.uint32]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


class Row:
    """A set of token ids, kept as one bit a token and unpacked on demand."""

    def __init__(self, bits: Bits) -> None:
        """Take packed bits: token `t` is bit `t % 32` of word `t // 32`."""
        self.bits = bits

    @classmethod
    def of(cls, ids: Ids, size: int) -> "Row":
        """Pack token ids of a vocabulary of `size`."""
        flags = np.zeros(-(-size // 32) * 32, np.bool_)
        flags[ids] = True
        return cls(np.packbits(flags, bitorder="little").view(np.uint32))

    @cached_property
    def flags(self) -> Flags:
        """By token id: whether it is allowed; the length is a multiple of 32."""
        return np.unpackbits(self.bits.view(np.uint8), bitorder="little").view(np.bool_)

    @cached_property
    def ids(self) -> Ids:
        """The allowed token ids, sorted."""
        return np.flatnonzero(self.flags).astype(np.int32)

    @cached_property
    def count(self) -> int:
        """How many tokens are allowed."""
        return int(np.bitwise_count(self.bits).sum())

    def __contains__(self, token: int) -> bool:
        """Whether a token is allowed."""
        word = token >> 5
        return 0 <= word < len(self.bits) and bool(int(self.bits[word]) >> (token & 31) & 1)
