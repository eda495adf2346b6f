"""The one way in which a conversation becomes token ids, for training and for serving.

The layout is ChatML as in Qwen2.5-VL. The tags of the layout are special tokens; whatever users write is encoded as plain text,
so a user who types `<|im_end|>` has typed eleven characters and not ended a turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant"]

TURN_OPEN, TURN_CLOSE = "<|im_start|>", "<|im_end|>"
VISION_OPEN, VISION_CLOSE, IMAGE_PAD = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"


@dataclass(frozen=True)
class ImagePart:
    """A picture in a turn: an RGB `PIL.Image.Image` (typed loosely, so that this package needs no imaging library)."""

    image: Any


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Role
    parts: tuple[str | ImagePart, ...]

    @property
    def text(self) -> str:
        """The text parts, joined by newlines."""
        return "\n".join(part for part in self.parts if isinstance(part, str))


class Tokenizer(Protocol):
    """What is needed of a Hugging Face tokenizer."""

    def encode(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> list[int]:
        """Token ids of a text; with `split_special_tokens` no part of it becomes a special token."""
        ...

    def convert_tokens_to_ids(self, tokens: str) -> int:
        """Id of one token."""
        ...


def pictures(turns: Sequence[Turn]) -> list[Any]:
    """Return the pictures of a conversation in the order in which `encode_prompt` places them."""
    return [part.image for turn in turns for part in turn.parts if isinstance(part, ImagePart)]


def encode_prompt(tokenizer: Tokenizer, turns: Sequence[Turn], image_token_counts: Sequence[int]) -> list[int]:
    """Encode a conversation up to where the assistant's reply begins.

    `image_token_counts` gives, picture by picture, the number of merged vision tokens; raises ValueError if their number is
    not that of the pictures.
    """
    special = tokenizer.convert_tokens_to_ids

    def plain(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    counts = list(image_token_counts)
    if len(counts) != len(pictures(turns)):
        raise ValueError(f"{len(counts)} image token counts for {len(pictures(turns))} pictures")
    ids: list[int] = []
    for turn in turns:
        ids += [special(TURN_OPEN), *plain(f"{turn.role}\n")]
        for part in turn.parts:
            if isinstance(part, str):
                ids += plain(part)
            else:
                ids += [special(VISION_OPEN), *[special(IMAGE_PAD)] * counts.pop(0), special(VISION_CLOSE)]
        ids += [special(TURN_CLOSE), *plain("\n")]
    return [*ids, special(TURN_OPEN), *plain("assistant\n")]
