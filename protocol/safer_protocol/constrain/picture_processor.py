"""Qwen2.5-VL's processor for text and pictures, as Outlines and transformers take it."""

from typing import Any

from transformers import Qwen2_5_VLProcessor


class PictureProcessor(Qwen2_5_VLProcessor):  # type: ignore[misc]  # transformers is not followed by the type checker
    """What `AutoProcessor` gives, without video and so without the torchvision that video needs."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        """Called by `from_pretrained`, which takes the directory of a checkpoint."""
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
