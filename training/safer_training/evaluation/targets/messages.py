"""Questions as OpenAI-compatible servers take them."""

import base64
from typing import Any

from safer_training.data.records import Message, TextContent
from safer_training.evaluation.question import Question, as_jpeg


def messages(question: Question) -> list[dict[str, Any]]:
    """Return the conversation with its pictures inside; raise `PictureError` where one cannot be read."""
    urls = iter(_urls(question))
    return [{"role": message.role, "content": _content(message, urls)} for message in question.prompt]


def last_parts(question: Question) -> Any:
    """Return the last message's content with its pictures inside: what a moderation classifies."""
    return messages(question)[-1]["content"]


def _urls(question: Question) -> list[str]:
    return [f"data:image/jpeg;base64,{base64.b64encode(as_jpeg(image)).decode()}" for image in question.pictures()]


def _content(message: Message, urls: Any) -> Any:
    """Write a single text as a text, for some servers take no parts from the system or assistant."""
    match message.content:
        case (TextContent(text=text),):
            return text
    parts: list[dict[str, Any]] = []
    for part in message.content:
        if not isinstance(part, TextContent):
            parts.append({"type": "image_url", "image_url": {"url": next(urls)}})
        elif part.text:
            parts.append({"type": "text", "text": part.text})
    return parts
