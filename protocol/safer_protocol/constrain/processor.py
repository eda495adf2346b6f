"""The machine as a logits processor: for `outlines.Generator(model, processor=...)` and for `model.generate` of transformers.

Whole batches, sampling, several sequences a prompt and beam search work: a row is followed by its tokens, never by the number of
calls, and replayed where beams were reordered. Keep away from options that contradict the mask (`min_new_tokens`, `bad_words_ids`,
`suppress_tokens`): a row with nothing left would be sampled at random.
"""

from dataclasses import dataclass, field

import torch
from outlines.processors.base_logits_processor import OutlinesLogitsProcessor

from safer_protocol.constrain.machine import Cursor, Machine
from safer_protocol.constrain.mask import mask
from safer_protocol.plan import Depth


@dataclass
class _Sequence:
    cursor: Cursor
    tokens: list[int] = field(default_factory=list)


class MachineLogitsProcessor(OutlinesLogitsProcessor):  # type: ignore[misc]  # outlines has no types for it
    """Sets every logit to minus infinity but those of the tokens that may come next.

    `logits` has shape (batch, vocabulary), `input_ids` (batch, length) with the prompt, padded at its left, in front.
    """

    def __init__(
        self,
        machine: Machine,
        depth: Depth | None = None,
        answer_tokens: int | None = None,
        limit: int | None = None,
    ) -> None:
        """Constrain every sequence of the next generation alike; `limit` is its `max_new_tokens`, so that none is cut off."""
        super().__init__("torch")
        self._machine = machine
        self._depth = depth
        self._answer_tokens = answer_tokens
        self._limit = limit
        self.reset()

    def reset(self) -> None:
        """Forget the sequences; called by Outlines before each generation."""
        self._prompt_length: int | None = None
        self._sequences: list[_Sequence] = []

    def process_logits(self, input_ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Follow each row by its new tokens and mask its logits in place."""
        if self._prompt_length is None:
            self._prompt_length = input_ids.shape[1]
            self._sequences = [self._start() for _ in range(input_ids.shape[0])]
        generated: list[list[int]] = input_ids[:, self._prompt_length :].tolist()
        for number, tokens in enumerate(generated):
            sequence = self._sequences[number]
            if tokens[: len(sequence.tokens)] != sequence.tokens:
                sequence = self._sequences[number] = self._start()
            for token in tokens[len(sequence.tokens) :]:
                if not sequence.cursor.finished:
                    sequence.cursor.advance(token)
            sequence.tokens = tokens
            mask(logits[number], self._machine.end if sequence.cursor.finished else sequence.cursor.allowed())
        return logits

    def _start(self) -> _Sequence:
        return _Sequence(self._machine.start(depth=self._depth, answer_tokens=self._answer_tokens, limit=self._limit))
