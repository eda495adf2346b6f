"""An untrained checkpoint: a real Qwen2.5-VL of a few million parameters with tokenizer and image processor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safer_protocol.toolkit import Toolkit
from safer_training.errors import RecipeError
from safer_training.stamp import STAMP_FILE, Stamp, read_stamp

Size = Literal["1m", "5m"]

PATCH, MERGE = 14, 2
CELL = PATCH * MERGE
"""Side of the square of pixels that becomes one vision token of the language model."""
MIN_PIXELS, MAX_PIXELS = 16 * CELL * CELL, 128 * CELL * CELL
"""A picture is scaled to between 16 and 128 cells (100,352 pixels)."""


@dataclass(frozen=True)
class Shape:
    """Widths and depths of the two parts of a model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vision_hidden: int
    vision_layers: int
    vision_heads: int
    vision_intermediate: int


SHAPES: dict[Size, Shape] = {
    "1m": Shape(96, 3, 3, 1, 256, 48, 2, 2, 96),
    "5m": Shape(256, 4, 4, 2, 512, 128, 4, 4, 384),
}


def model_config(size: Size, tokenizer: Any) -> Any:
    """Return the `Qwen2_5_VLConfig` of a size for a tokenizer."""
    from transformers import Qwen2_5_VLConfig

    shape = SHAPES[size]
    special = tokenizer.convert_tokens_to_ids
    # Rotary frequencies are shared out to time, height and width in this order, the fastest first. In the usual shares, width gets
    # the slowest: neighbouring cells of a picture then look alike to a model that is too small to make up for it.
    half = shape.hidden // shape.heads // 2
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "intermediate_size": shape.intermediate,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [1, 2, half - 3],
            },
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": special("<|im_end|>"),
            "pad_token_id": special("<|endoftext|>"),
        },
        vision_config={
            "depth": shape.vision_layers,
            "hidden_size": shape.vision_hidden,
            "num_heads": shape.vision_heads,
            "intermediate_size": shape.vision_intermediate,
            "out_hidden_size": shape.hidden,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": 4 * CELL,
            "fullatt_block_indexes": [shape.vision_layers // 2],
        },
        image_token_id=special("<|image_pad|>"),
        video_token_id=special("<|video_pad|>"),
        vision_start_token_id=special("<|vision_start|>"),
        vision_end_token_id=special("<|vision_end|>"),
        tie_word_embeddings=True,
        dtype="bfloat16",
    )


def computes_bfloat16() -> bool:
    """Return whether this machine multiplies bfloat16 fast; processors without AVX-512 take ten times as long as for float32."""
    import torch

    return torch.cuda.is_available() or torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")


def image_processor() -> Any:
    """Return the Qwen2-VL image processor (PIL backend) with limits that suit a small vision tower."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(
        size={"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}, patch_size=PATCH, merge_size=MERGE
    )


def load_image_processor(directory: Path, min_pixels: int | None = None, max_pixels: int | None = None) -> Any:
    """Load a checkpoint's image processor; areas that are given replace its own."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    processor = Qwen2VLImageProcessorPil.from_pretrained(str(directory))
    size = dict(processor.size)
    processor.size = {
        "shortest_edge": min_pixels or size["shortest_edge"],
        "longest_edge": max_pixels or size["longest_edge"],
    }
    return processor


def new_model(size: Size, tokenizer: Any, seed: int = 0) -> Any:
    """Return an untrained model in float32, the same for the same seed."""
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(seed)
    return Qwen2_5_VLForConditionalGeneration(model_config(size, tokenizer)).float()


def save(directory: Path, model: Any, tokenizer: Any, stamp: Stamp, processor: Any = None) -> None:
    """Write a checkpoint that transformers and vLLM can load, weights as bfloat16, by default with the small image processor."""
    import copy

    import torch

    directory.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(directory)
    # Saving while training names the processor there, which whoever loads the checkpoint does not have.
    tokenizer._set_processor_class(None)
    tokenizer.save_pretrained(directory)
    (processor or image_processor()).save_pretrained(directory)
    stamp.write(directory)


def load(directory: Path, toolkit: Toolkit, *, dtype: str = "float32", adopt: bool = False) -> tuple[Any, Any, Stamp]:
    """Load model and tokenizer of a checkpoint that was made for this protocol; raise `ProtocolMismatchError`.

    With `adopt` a Qwen2.5-VL that was made for no protocol may be loaded too, from a folder or from the hub.
    """
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    if adopt and not (directory / STAMP_FILE).is_file():
        stamp = Stamp(protocol_hash=toolkit.hash, size=directory.name, stage="untrained")
    else:
        stamp = read_stamp(directory, toolkit)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(str(directory), dtype=dtype)
    return model, AutoTokenizer.from_pretrained(str(directory)), stamp


def build(directory: Path, size: Size, toolkit: Toolkit, texts: list[str], seed: int = 0) -> None:
    """Write an untrained checkpoint whose tokenizer is trained on `texts`; the directory must be new or empty."""
    from safer_training.tokenizer import train_tokenizer

    if directory.exists() and any(directory.iterdir()):
        raise RecipeError(f"{directory} is not empty")
    tokenizer = train_tokenizer(texts, toolkit)
    save(
        directory,
        new_model(size, tokenizer, seed),
        tokenizer,
        Stamp(protocol_hash=toolkit.hash, size=size, stage="untrained"),
    )
