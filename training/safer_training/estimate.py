"""What a stage would take, without training: the model's size, the rows, the updates, and the memory of one device.

The estimate adds up what is known: weights, gradients, two moments of AdamW, the reference, kept activations and logits. It
leaves out fragmentation and the caches of generation, so a quarter more should be free.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safer_training.checkpoint import SHAPES, model_config
from safer_training.data.records import Prompt
from safer_training.errors import RecipeError
from safer_training.recipe import DpoStage, GrpoStage, Stage

_CHARACTERS_A_TOKEN = 3
_PIXELS_A_TOKEN = 28 * 28
_MOST_PIXELS = 4_194_304
_LAYER_BYTES = 34
"""Bytes that a layer keeps for a token and a unit of width, where activations are not computed twice."""


@dataclass(frozen=True)
class Estimate:
    """Figures of one stage; bytes of one device."""

    parameters: int
    trained: int
    rows: int
    updates: int
    tokens: int
    """Of the longest row, its pictures at their largest."""
    states: int
    """Weights, gradients, moments, reference."""
    activations: int

    @property
    def total(self) -> int:
        """Bytes of one device."""
        return self.states + self.activations

    def lines(self) -> list[str]:
        """Say it in a few lines."""
        giga = 2**30
        return [
            f"model: {self.parameters:,} parameters, {self.trained:,} of them trained",
            f"data: {self.rows:,} rows, the longest of about {self.tokens:,} tokens",
            f"steps: {self.updates:,} updates",
            f"memory of a device: {self.total / giga:.1f} GiB = {self.states / giga:.1f} of weights and optimizer"
            f" + {self.activations / giga:.1f} of activations",
        ]


def estimate(model: str | Path, stage: Stage, rows: Sequence[Prompt], devices: int = 1) -> Estimate:
    """Estimate a stage for a folder, hub name or size of model, its states shared out over so many devices."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    config = _config(str(model))
    with torch.device("meta"):
        empty = Qwen2_5_VLForConditionalGeneration(config)
    every = sum(parameter.numel() for parameter in empty.parameters())
    tower = sum(parameter.numel() for parameter in empty.model.visual.parameters())
    text = config.text_config
    trained = every - (tower if stage.tower == "frozen" else 0)
    if stage.lora is not None:
        trained = _adapter_parameters(empty, stage.lora.rank)
    # Full fine-tuning keeps weights, gradients and moments as float32 and a copy of the weights as bfloat16; adapters stand beside
    # bfloat16 weights and need no reference but the model without them.
    held = 2 * every if stage.lora else 6 * every
    reference = 4 * every if isinstance(stage, DpoStage | GrpoStage) and stage.lora is None else 0
    tokens = max((_tokens(row, stage) for row in rows[: stage.rows]), default=0)
    passed = tokens * stage.at_once * (2 if isinstance(stage, DpoStage) else 1)
    kept = passed * text.hidden_size * text.num_hidden_layers * (2 if stage.checkpointing else _LAYER_BYTES)
    once = passed * text.hidden_size * _LAYER_BYTES + passed * text.vocab_size * 8
    count = len(rows[: stage.rows])
    return Estimate(
        every, trained, count, stage.updates(count), tokens, (held + 12 * trained + reference) // devices, kept + once
    )


def _config(model: str) -> Any:
    from transformers import AutoConfig

    if model in SHAPES:
        return model_config(model, _Tokens())
    try:
        return AutoConfig.from_pretrained(model)
    except OSError as error:
        raise RecipeError(f"no model {model}: neither a folder here nor one that the hub gives") from error


class _Tokens:
    """Stands in for the tokenizer of a model that has not been built."""

    def __len__(self) -> int:
        return 4096

    def convert_tokens_to_ids(self, token: str) -> int:
        """Any id will do."""
        return len(token)


def _adapter_parameters(model: Any, rank: int) -> int:
    layers = [module for name, module in model.named_modules() if "language_model" in name and name.endswith("_proj")]
    return sum(rank * (layer.in_features + layer.out_features) for layer in layers)


def _tokens(row: Prompt, stage: Stage) -> int:
    text = len(row.model_dump_json()) // _CHARACTERS_A_TOKEN
    pictures = len(row.images) * (stage.max_pixels or _MOST_PIXELS) // _PIXELS_A_TOKEN
    return text + pictures + (stage.completion if isinstance(stage, GrpoStage) else 0)
