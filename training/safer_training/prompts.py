"""Prompts for TRL, whose trainers render conversations with chat templates: a user's `<|im_end|>` would end the turn there.

`PromptProcessor` takes the template's place, so that prompts are encoded by `encode_prompt` as everywhere else, also those that
end with the reply of an assistant that is to be judged.
"""

import json
from collections.abc import Sequence
from typing import Any

from transformers import BatchFeature

from safer_protocol.constrain.picture_processor import PictureProcessor
from safer_protocol.prompt import IMAGE_PAD, ImagePart, Turn
from safer_training.collate import Target, encode_prompts, pad

Message = dict[str, Any]


def to_messages(turns: Sequence[Turn]) -> list[Message]:
    """Write turns as TRL's messages, with empty places for pictures."""
    return [{"role": turn.role, "content": [_content(part) for part in turn.parts]} for turn in turns]


def to_turns(messages: Sequence[Message], images: Sequence[Any] = ()) -> tuple[Turn, ...]:
    """Read turns back; `images` fill the places of pictures that messages leave empty."""
    left = iter(images)

    def part(content: Message) -> str | ImagePart:
        if content["type"] == "text":
            return str(content["text"])
        return ImagePart(content["image"] if content.get("image") is not None else next(left))

    return tuple(Turn(message["role"], tuple(map(part, message["content"]))) for message in messages)


def _content(part: str | ImagePart) -> Message:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}


class PromptProcessor(PictureProcessor):
    """A processor whose texts are conversations as JSON, and whose token ids come from `encode_prompt`."""

    def apply_chat_template(
        self, conversation: Any, tokenize: bool = False, **_: Any
    ) -> Any:  # the template's options say what `encode_prompt` does anyway
        """Return one conversation as JSON, or the token ids of several."""
        if not tokenize:
            bare = [
                {**m, "content": [{k: v for k, v in c.items() if k != "image"} for c in m["content"]]}
                for m in conversation
            ]
            return json.dumps(bare)
        ids, inputs = encode_prompts(self.tokenizer, self.image_processor, [to_turns(one) for one in conversation])
        image_id = self.tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        kinds = {"mm_token_type_ids": [[int(token == image_id) for token in one] for one in ids]} if inputs else {}
        return BatchFeature({"input_ids": ids, "attention_mask": [[1] * len(one) for one in ids], **inputs, **kinds})

    def __call__(self, images: Any = None, text: Any = None, **_: Any) -> Any:
        """Return the tensors of conversations that `apply_chat_template` wrote, padded at their left."""
        shown = images or [None] * len(text)
        turns = [to_turns(json.loads(one), some or ()) for one, some in zip(text, shown, strict=True)]
        ids, inputs = encode_prompts(self.tokenizer, self.image_processor, turns)
        image_id = self.tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        padded = pad(ids, [Target([], [])] * len(ids), self.tokenizer.pad_token_id, image_id)
        del padded["labels"], padded["loss_weights"]
        return BatchFeature({**padded, **inputs})
