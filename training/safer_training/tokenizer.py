"""A small byte-level BPE with Qwen's pre-tokenizer, special tokens and chat layout."""

from collections.abc import Iterable, Iterator
from typing import Any

from safer_protocol.fields import Choice, Flag, Level, bare_words
from safer_protocol.plan import HEAD_KEYS
from safer_protocol.text import ANSWER_CLOSE, ANSWER_OPEN, PLAN_CLOSE, PLAN_OPEN, TRACE_CLOSE, TRACE_OPEN
from safer_protocol.toolkit import Toolkit

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2.5's pre-tokenizer: no piece has a character after its last newline, none spans two words."""

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Qwen2.5-VL's special tokens, in its order; they follow the ordinary tokens."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The layout of `safer_protocol.prompt.encode_prompt`, for software that reads a checkpoint's own template."""


def protocol_corpus(toolkit: Toolkit) -> Iterator[str]:
    """Yield text in which every literal of the wire form occurs often enough to become few tokens."""
    frame = (PLAN_OPEN, PLAN_CLOSE, TRACE_OPEN, TRACE_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)
    for _ in range(40):
        yield "\n".join(frame) + "\n"
        for tool in toolkit.tools:
            yield f"[{tool.name}]\n"
            pairs = []
            for field in tool.fields:
                match field:
                    case Flag() | Level() | Choice():
                        pairs += [f"{field.key}={word}" for word in bare_words(field)]
                    case _:
                        pairs.append(f'{field.key}="the')
            yield f"[{tool.name}]: " + "; ".join(pairs) + '"\n'
        yield "; ".join(f"{key}={word}" for key in HEAD_KEYS for word in toolkit.head_words(key)) + "\n"
        yield '"; ' + '", "'.join(opening for words in toolkit.openings.values() for opening in words)


def train_tokenizer(texts: Iterable[str], toolkit: Toolkit, size: int = 4096) -> Any:
    """Train a tokenizer of `size` tokens, special ones included, on texts and the protocol; the same texts give the same one."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
        max_token_length=32,
    )
    bpe.train_from_iterator([*texts, *protocol_corpus(toolkit)], trainer)
    bpe.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL[3:]),
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
        model_max_length=4096,
    )
