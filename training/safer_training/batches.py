"""Batches of built rows: prompts as in serving, and replies of which every token is learnt or weighed against another's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from safer_protocol.prompt import IMAGE_PAD, Turn
from safer_training.collate import IGNORED, Target, encode_prompts, encode_target, pad
from safer_training.data.records import DpoRow, SftRow


@dataclass(frozen=True)
class Batches:
    """What batches of any kind are made with."""

    folder: Path
    tokenizer: Any
    processor: Any

    def inputs(self, conversations: Sequence[Sequence[Turn]], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the tensors of conversations and what follows them."""
        prompts, inputs = encode_prompts(self.tokenizer, self.processor, conversations)
        image_id = self.tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        return {**pad(prompts, targets, self.tokenizer.pad_token_id, image_id), **inputs}


@dataclass(frozen=True)
class SftBatches(Batches):
    """Batches of prompts and replies, with a weight for every token of a reply."""

    rows: Sequence[SftRow]
    fixed_weight: float

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, Tensor]:
        """Make a batch of row numbers."""
        rows = [self.rows[item["row"]] for item in batch]
        targets = [encode_target(self.tokenizer, row.reply, self.fixed_weight, ended=True) for row in rows]
        return self.inputs([row.turns(self.folder) for row in rows], targets)


@dataclass(frozen=True)
class DpoBatches(Batches):
    """Batches of pairs as TRL's trainer takes them: all good replies, then all bad ones; prompts and pictures come twice."""

    rows: Sequence[DpoRow]

    def __call__(self, batch: Sequence[dict[str, int]]) -> dict[str, Tensor]:
        """Make a batch of row numbers."""
        rows = [self.rows[item["row"]] for item in batch]
        turns = [row.turns(self.folder) for row in rows]
        replies = [row.chosen for row in rows] + [row.rejected for row in rows]
        targets = [encode_target(self.tokenizer, text, 1.0, ended=True) for text in replies]
        inputs = self.inputs([*turns, *turns], targets)
        learnt = inputs.pop("labels") != IGNORED
        del inputs["loss_weights"]
        before = inputs["input_ids"].shape[1] - learnt.shape[1]
        prompt = torch.zeros(len(replies), before, dtype=torch.long)
        return {**inputs, "completion_mask": torch.cat([prompt, learnt.long()], dim=1)}
