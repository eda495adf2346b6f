"""The tokens that are allowed at one place."""

from functools import cached_property
from typing import Any

import numpy as np

Ids = np.ndarray[Any, np.dtype[np.int32]]
Bits = np.ndarray[Any, np.dtype[np.uint32]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


class Row:
    """A set of token ids, in the form that it was made of; other forms are made on demand and kept."""

    _size: int

    def __init__(self, bits: Bits) -> None:
        """Take packed bits: token `t` is bit `t % 32` of word `t // 32`."""
        self.bits = bits

    @classmethod
    def of(cls, ids: Ids, size: int) -> "Row":
        """Take token ids of a vocabulary of `size`; a few of them need far less memory than their bits."""
        row = cls.__new__(cls)
        row.ids = np.unique(ids)
        row._size = size
        return row

    @cached_property
    def bits(self) -> Bits:
        """One bit a token, in words of 32."""
        flags = np.zeros(-(-self._size // 32) * 32, np.bool_)
        flags[self.ids] = True
        return np.packbits(flags, bitorder="little").view(np.uint32)

    @cached_property
    def flags(self) -> Flags:
        """By token id: whether it is allowed; the length is a multiple of 32."""
        return np.unpackbits(self.bits.view(np.uint8), bitorder="little").view(np.bool_)

    @cached_property
    def ids(self) -> Ids:
        """The allowed token ids, sorted."""
        # Most rows allow few tokens: only words with a bit in them are unpacked, and nothing but the ids is kept.
        words = np.flatnonzero(self.bits)
        places = np.flatnonzero(np.unpackbits(self.bits[words].view(np.uint8), bitorder="little"))
        ids: Ids = (words[places >> 5] << 5 | places & 31).astype(np.int32)
        return ids

    @cached_property
    def count(self) -> int:
        """How many tokens are allowed."""
        return len(self.ids) if "ids" in self.__dict__ else int(np.bitwise_count(self.bits).sum())

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of ids and flags, as far as they have been asked for."""
        return sum(self.__dict__[form].nbytes for form in ("ids", "flags") if form in self.__dict__)

    def __contains__(self, token: int) -> bool:
        """Whether a token is allowed."""
        word = token >> 5
        return 0 <= word < len(self.bits) and bool(int(self.bits[word]) >> (token & 31) & 1)
