"""The bodies of requests to a vLLM server, for either of its interfaces."""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from safer_protocol.prompt import ImagePart, Turn
from safer_server.engines.backend import Parameters
from safer_server.engines.codec import Prompt

_STREAMED = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}

_SPECIAL = re.compile(r"<\|(?=\w+\|>)")
"""Begins what a tokenizer of Qwen would take for a special token."""


def token_body(prompt: Prompt, parameters: Parameters) -> Mapping[str, Any]:
    """Ask for a reply at `/inference/v1/generate`: token ids as we encode them, so no text becomes a special token."""
    body = {"token_ids": prompt.ids, "sampling_params": parameters, **_STREAMED}
    if prompt.images:
        body["content_parts"] = [{"type": "image_url", "url": _data_url(image)} for image in prompt.images]
    return body


def chat_body(model: str, context: int, prompt: Prompt, parameters: Parameters) -> Mapping[str, Any]:
    """Ask for a reply at `/v1/chat/completions`, in the layout of the server's own chat template.

    There the text of users is searched for special tokens, so those that it spells out are broken up. A limit that goes beyond the
    context is refused there; how long a prompt with pictures is, is not known here, so that it goes without one.
    """
    sampling = {key: value for key, value in parameters.items() if key not in ("extra_args", "detokenize")}
    if prompt.images or len(prompt.ids) + (parameters.get("max_tokens") or 0) > context:
        del sampling["max_tokens"]
    extra = {key: json.dumps(value) for key, value in parameters.get("extra_args", {}).items()}
    messages = [_message(turn) for turn in prompt.turns]
    if prompt.written:
        messages.append({"role": "assistant", "content": prompt.written})
    return {
        "model": model,
        "messages": messages,
        "continue_final_message": bool(prompt.written),
        "add_generation_prompt": not prompt.written,
        "return_token_ids": True,
        **sampling,
        **({"vllm_xargs": extra} if extra else {}),
        **_STREAMED,
    }


def _message(turn: Turn) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for part in turn.parts:
        if isinstance(part, ImagePart):
            parts.append({"type": "image_url", "image_url": {"url": _data_url(part.image)}})
        else:
            parts.append({"type": "text", "text": _SPECIAL.sub("<\u200b|", part)})
    return {"role": turn.role, "content": parts}


def _data_url(image: Any) -> str:
    """Write a picture without loss, in little time rather than in few bytes."""
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode('ascii')}"
