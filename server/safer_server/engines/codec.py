"""Conversations to token ids and token ids to text, for engines that have the model elsewhere: no torch, no transformers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from safer_protocol.prompt import TURN_CLOSE, Turn, encode_prompt, pictures

END_OF_CUT = "<|endoftext|>"
"""Ends a reply whose answer was cut (see `safer_protocol.constrain.vocabulary`)."""


@dataclass(frozen=True)
class Prompt:
    """A conversation, what of the reply counts as written, and both as token ids.

    The ids have one `<|image_pad|>` for each picture, which the engine expands; pictures are RGB `PIL.Image.Image`.
    """

    turns: tuple[Turn, ...]
    written: str
    ids: tuple[int, ...]
    images: tuple[Any, ...] = ()


class Codec:
    """The tokenizer of a checkpoint, as `encode_prompt` wants it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.encode_special_tokens = True  # what users write never becomes a special token
        self._tokenizer = tokenizer
        self.end_of_cut = self.convert_tokens_to_ids(END_OF_CUT)
        self.end = self.convert_tokens_to_ids(TURN_CLOSE)

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> "Codec":
        """Read `tokenizer.json` of a checkpoint's directory."""
        return cls(Tokenizer.from_file(str(checkpoint / "tokenizer.json")))

    def encode(self, text: str, *, add_special_tokens: bool = False, split_special_tokens: bool = True) -> list[int]:
        """Token ids of a text, none of them special."""
        (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        ids: list[int] = encoding.ids  # a batch of one, because only that lets other threads run meanwhile
        return ids

    def convert_tokens_to_ids(self, tokens: str) -> int:
        """Id of one token; raises ValueError where there is none."""
        found = self._tokenizer.token_to_id(tokens)
        if found is None:
            raise ValueError(f"the tokenizer has no {tokens}")
        return int(found)

    def prompt(self, turns: Sequence[Turn], written: str = "") -> Prompt:
        """Encode a conversation, and behind it what of the reply counts as written."""
        images = tuple(pictures(turns))
        ids = encode_prompt(self, turns, [1] * len(images))
        return Prompt(tuple(turns), written, (*ids, *self.encode(written)), images)

    def decoder(self) -> "Decoder":
        """Begin to decode one reply."""
        return Decoder(self._tokenizer)


class Decoder:
    """Text of a reply as its tokens come; special tokens are left out, characters are never split."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the characters that these tokens complete."""
        return "".join(self._stream.step(self._tokenizer, token) or "" for token in ids)
