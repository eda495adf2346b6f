"""A small byte-level BPE of our own and the machine compiled for it."""

from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from safer_protocol.constrain.cache import compile_blocks
from safer_protocol.constrain.machine import Machine
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.toolkit import Toolkit, default_toolkit

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CORPUS = [
    '[OCR-EXTRACT]: found=yes; text="a sign over the door";',
    '[SAFETY-GATE]: rationale="nothing here is risky"; verdict=allow\n',
    "I can't help with that. I'm sorry, but I can't.\n\nCould you tell me more?\n",
    "The paper boat floats <b>well</b> on the lake, won't it? Größe, naïve, 水, Привет 🙂\n",
    'objects=["a red ball", "a kite"]; people=no; score=97\n',
] * 4


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A byte-level BPE with Qwen's pre-tokenizer and a vocabulary of 700."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")


@pytest.fixture(scope="session")
def toolkit() -> Toolkit:
    """The toolkit that ships."""
    return default_toolkit()


@pytest.fixture(scope="session")
def machine(tokenizer: Any, toolkit: Toolkit) -> Machine:
    """The machine for the shipped toolkit on the small vocabulary."""
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    return Machine(toolkit, vocabulary, compile_blocks(toolkit, vocabulary))
