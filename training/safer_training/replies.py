"""Replies of a checkpoint, many requests at once, greedy ones under the mask machine: what evaluation reads."""

from collections.abc import Generator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from safer_protocol.constrain.cache import compile_blocks
from safer_protocol.constrain.machine import Machine
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.prompt import IMAGE_PAD, Turn
from safer_protocol.toolkit import Toolkit
from safer_training.checkpoint import load, load_image_processor
from safer_training.collate import Target, encode_prompts, pad

_HEAD_LINES = 2
"""`<plan>` and the head of the plan: all that decides."""
_LONGEST_ANSWER = 160


class Writer:
    """A checkpoint that writes."""

    def __init__(self, checkpoint: Path, toolkit: Toolkit, *, adopt: bool = False) -> None:
        """Load a checkpoint; with `adopt` also one that was made for no protocol."""
        self.model, self.tokenizer, self.stamp = load(checkpoint, toolkit, adopt=adopt)
        self.model.eval()
        self.vocabulary = Vocabulary.from_tokenizer(self.tokenizer)
        self.processor = load_image_processor(checkpoint)
        self.image_id: int = self.tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        self._toolkit = toolkit

    @cached_property
    def machine(self) -> Machine:
        """The mask machine, compiled when it is first needed."""
        return Machine(self._toolkit, self.vocabulary, compile_blocks(self._toolkit, self.vocabulary))

    def write(self, conversations: Sequence[Sequence[Turn]], head_only: bool = False) -> list[str]:
        """Return the greedy reply to each conversation, or only its head; all of them have pictures or none has."""
        cursors = [self.machine.start(answer_tokens=_LONGEST_ANSWER) for _ in conversations]
        texts = [bytearray() for _ in conversations]
        done = [False] * len(conversations)
        steps = self.steps(self.inputs(conversations))
        logits = next(steps)
        while True:
            tokens: list[int | None] = [None] * len(conversations)
            for row, cursor in enumerate(cursors):
                if not done[row]:
                    allowed = torch.from_numpy(cursor.allowed().ids).long()
                    token = tokens[row] = int(allowed[int(logits[row][allowed].argmax())])
                    texts[row] += cursor.advance(token)
                    done[row] = cursor.finished or (head_only and texts[row].count(b"\n") == _HEAD_LINES)
            if all(done):
                return [text.decode() for text in texts]
            logits = steps.send(tokens)

    @torch.inference_mode()
    def steps(self, inputs: dict[str, Tensor]) -> Generator[Tensor, list[int | None], None]:
        """Yield the logits [rows, vocabulary] of the next tokens, and take those that were chosen; None for a row that is done."""
        lengths = self._positions(inputs)
        mask = inputs["attention_mask"]
        output = self.model(**inputs, use_cache=True, logits_to_keep=1)
        while True:
            chosen = yield output.logits[:, -1]
            tokens = [[self.tokenizer.pad_token_id if token is None else token] for token in chosen]
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            output = self.model(
                input_ids=torch.tensor(tokens),
                attention_mask=mask,
                position_ids=lengths.view(1, -1, 1).expand(3, -1, 1),
                past_key_values=output.past_key_values,
                use_cache=True,
                logits_to_keep=1,
            )
            lengths = lengths + 1

    def inputs(self, conversations: Sequence[Sequence[Turn]]) -> dict[str, Tensor]:
        """Encode conversations, padded on the left; all of them have pictures or none has."""
        prompts, inputs = encode_prompts(self.tokenizer, self.processor, conversations)
        padded = pad(prompts, [Target([], [])] * len(prompts), self.tokenizer.pad_token_id, self.image_id)
        del padded["labels"], padded["loss_weights"]
        return {**padded, **inputs}

    def _positions(self, inputs: dict[str, Tensor]) -> Tensor:
        """Add `position_ids` [3, rows, columns] to the inputs and return the position of each row's next token."""
        mask = inputs["attention_mask"]
        if "image_grid_thw" in inputs:
            positions, _ = self.model.model.get_rope_index(
                inputs["input_ids"],
                inputs["mm_token_type_ids"],
                image_grid_thw=inputs["image_grid_thw"],
                attention_mask=mask,
            )
        else:
            positions = (mask.cumsum(-1) - 1).clamp_min(0).expand(3, -1, -1)
        inputs["position_ids"] = positions
        return torch.where(mask.bool(), positions.amax(0), 0).amax(-1) + 1
