"""Greedy replies under the mask machine, many requests at once: what evaluation reads."""

from collections.abc import Sequence
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
    """A checkpoint with its mask machine."""

    def __init__(self, checkpoint: Path, toolkit: Toolkit) -> None:
        """Load a checkpoint and compile the machine."""
        self.model, self.tokenizer, self.stamp = load(checkpoint, toolkit)
        self.model.eval()
        vocabulary = Vocabulary.from_tokenizer(self.tokenizer)
        self.machine = Machine(toolkit, vocabulary, compile_blocks(toolkit, vocabulary))
        self.processor = load_image_processor(checkpoint)
        self.image_id: int = self.tokenizer.convert_tokens_to_ids(IMAGE_PAD)

    def write(self, conversations: Sequence[Sequence[Turn]], head_only: bool = False) -> list[str]:
        """Return the greedy reply to each conversation, or only its head; all of them have pictures or none has."""
        inputs = self._inputs(conversations)
        lengths = self._positions(inputs)
        cursors = [self.machine.start(answer_tokens=_LONGEST_ANSWER) for _ in conversations]
        texts = [bytearray() for _ in conversations]
        done = [False] * len(conversations)
        mask = inputs["attention_mask"]
        with torch.inference_mode():
            output = self.model(**inputs, use_cache=True, logits_to_keep=1)
            while not all(done):
                tokens = []
                for row, cursor in enumerate(cursors):
                    token = self.tokenizer.pad_token_id
                    if not done[row]:
                        allowed = torch.from_numpy(cursor.allowed().ids).long()
                        token = int(allowed[int(output.logits[row, -1][allowed].argmax())])
                        texts[row] += cursor.advance(token)
                        done[row] = cursor.finished or (head_only and texts[row].count(b"\n") == _HEAD_LINES)
                    tokens.append([token])
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
        return [text.decode() for text in texts]

    def _inputs(self, conversations: Sequence[Sequence[Turn]]) -> dict[str, Tensor]:
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
