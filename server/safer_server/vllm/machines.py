"""The mask machines of one vLLM worker, loaded once."""

from typing import Any

from platformdirs import user_cache_path

from safer_protocol.constrain.cache import BlockCache, Progress
from safer_protocol.constrain.machine import Cursor, Machine
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.toolkit import default_toolkit
from safer_server.vllm.options import options_of, toolkits


class Machines:
    """A machine for every policy served, on the vocabulary of the served model."""

    def __init__(self, model_config: Any) -> None:
        """Compile or load them for vLLM's model configuration."""
        vocabulary = vocabulary_of(model_config.tokenizer, model_config.tokenizer_revision)
        blocks = block_cache(vocabulary)
        self._longest: int = model_config.max_model_len
        self._machines = {
            name: Machine(toolkit, vocabulary, blocks.obtain(toolkit)) for name, toolkit in toolkits().items()
        }

    def cursor(self, params: Any, prompt_length: int) -> Cursor | None:
        """Begin the reply to a request that has been checked; None where it is not constrained."""
        options = options_of(params.extra_args)
        if not options.constrain:
            return None
        room = self._longest - prompt_length
        machine = self._machines[options.policy_hash or default_toolkit().hash]
        return machine.start(
            depth=options.depth,
            plan=options.plan,
            answer_tokens=options.answer_tokens,
            limit=room if params.max_tokens is None else min(room, params.max_tokens),
        )


def vocabulary_of(tokenizer: str, revision: str | None = None) -> Vocabulary:
    """Read the vocabulary of a Hugging Face tokenizer, from a directory or by its name."""
    from transformers import AutoTokenizer

    return Vocabulary.from_tokenizer(AutoTokenizer.from_pretrained(tokenizer, revision=revision))


def block_cache(vocabulary: Vocabulary) -> BlockCache:
    """Open the user's folder of compiled blocks."""
    return BlockCache(vocabulary, user_cache_path("safer-toolkit") / "blocks")


def compile_all(tokenizer: str, progress: Progress) -> None:
    """Compile what is missing in the folder, once for all workers that will ask for it."""
    blocks = block_cache(vocabulary_of(tokenizer))
    for toolkit in toolkits().values():
        blocks.obtain(toolkit, progress)
