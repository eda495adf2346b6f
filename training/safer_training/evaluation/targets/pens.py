"""Pens: each writes one reply, token by token, under the mask machine or freely."""

import time
from typing import Any, Protocol

import torch
from torch import Tensor

from safer_protocol.constrain.machine import Cursor
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.text import TRACE_CLOSE
from safer_training.evaluation.sampling import Sampling

_DECIDED = f"{TRACE_CLOSE}\n".encode()


class Reach(Protocol):
    """What may be written."""

    @property
    def finished(self) -> bool:
        """Whether the reply has ended."""
        ...

    @property
    def cut(self) -> bool:
        """Whether it ended because it had grown too long."""
        ...

    def allowed(self) -> Tensor | None:
        """The ids of the tokens that may come next; None: all."""
        ...

    def take(self, token: int) -> bytes:
        """Take a token, and return what it writes."""
        ...


class Masked:
    """What the mask machine allows."""

    def __init__(self, cursor: Cursor) -> None:
        """Begin at a cursor."""
        self._cursor = cursor

    @property
    def finished(self) -> bool:
        """Whether the end token was taken."""
        return self._cursor.finished

    @property
    def cut(self) -> bool:
        """Whether the answer was closed because there was no more room."""
        return self._cursor.cut

    def allowed(self) -> Tensor:
        """The machine's tokens."""
        return torch.from_numpy(self._cursor.allowed().ids).long()

    def take(self, token: int) -> bytes:
        """Advance the cursor."""
        return self._cursor.advance(token)


class Free:
    """Anything, until an end token or the limit."""

    def __init__(self, vocabulary: Vocabulary, limit: int) -> None:
        """Begin."""
        self.finished = self.cut = False
        self._vocabulary = vocabulary
        self._left = limit

    def allowed(self) -> None:
        """All tokens."""

    def take(self, token: int) -> bytes:
        """Count a token; special ones write nothing, and the ends end the reply."""
        self._left -= 1
        ended = token in (self._vocabulary.eos, self._vocabulary.end_of_cut)
        self.finished = ended or self._left == 0
        self.cut = self.finished and not ended
        tokens = self._vocabulary.tokens
        return (tokens[token] if token < len(tokens) else None) or b""


class Pen:
    """Writes a reply by sampling."""

    def __init__(self, reach: Reach, sampling: Sampling, draw: int) -> None:
        """Begin; `draw` is the seed of the reply's own chance, so that it hangs on no other reply of a batch."""
        self.reach = reach
        self.tokens = 0
        self.decided_at: float | None = None
        """When the trace was closed, by the monotonic clock."""
        self._text = bytearray()
        self._sampling = sampling
        self._chance = torch.Generator().manual_seed(draw)

    @property
    def text(self) -> str:
        """What was written; bytes that are no character are marked as such."""
        return self._text.decode(errors="replace")

    def write(self, logits: Tensor) -> int:
        """Choose among what is allowed and write it; return the token."""
        allowed = self.reach.allowed()
        choice = self._choose(logits if allowed is None else logits[allowed])
        token = choice if allowed is None else int(allowed[choice])
        self._text += self.reach.take(token)
        self.tokens += 1
        if self.decided_at is None and _DECIDED in self._text:
            self.decided_at = time.monotonic()
        return token

    def _choose(self, logits: Tensor) -> int:
        if self._sampling.temperature == 0:
            return int(logits.argmax())
        shares = (logits.float() / self._sampling.temperature).softmax(-1)
        if self._sampling.top_p < 1:
            ordered, order = shares.sort(descending=True)
            before = ordered.cumsum(-1) - ordered
            shares = torch.zeros_like(shares).scatter(0, order, ordered.where(before < self._sampling.top_p, 0))
        chosen: Any = torch.multinomial(shares, 1, generator=self._chance)
        return int(chosen)
