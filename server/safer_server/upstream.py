"""The model behind this server, where there is one: any server that speaks OpenAI's chat completions.

It is sent what the guard has judged and nothing else: the turns of the case, pictures as the pixels that were looked at. So a file
that decodes differently elsewhere, a later frame, or another file under the same URL cannot pass.
"""

import logging
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import anyio.to_thread
import httpx2
import openai
from pydantic import BaseModel

from safer_protocol.prompt import ImagePart, Turn
from safer_server.outgoing import OUTGOING
from safer_server.record import FinishReason
from safer_server.wire.request import ChatRequest

logger = logging.getLogger(__name__)

_PASSED_ON = (
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "user",
    "safety_identifier",
    "metadata",
)
_FINISH: Mapping[str, FinishReason] = {"length": "length", "content_filter": "content_filter"}
_CALLERS_FAULT = (400, 413, 422)


@dataclass(frozen=True)
class UpstreamRequest:
    """The fields of a request that the model behind is asked with, and whether its reply is wanted piece by piece."""

    fields: Mapping[str, Any]
    streams: bool


@dataclass(frozen=True)
class UpstreamPiece:
    """A stretch of the reply; the last ones carry why it ends, and the tokens that were read and written."""

    text: str = ""
    finish: FinishReason | None = None
    prompt_tokens: int = 0
    tokens: int = 0


class UpstreamError(Exception):
    """The model behind gave no whole reply."""


class UpstreamRejectedError(UpstreamError):
    """The model behind does not take this request."""


def forward(request: ChatRequest) -> UpstreamRequest:
    """Take what of a request is passed on: all that shapes the answer, as the caller gave it."""
    fields = request.model_dump(mode="json", include=set(_PASSED_ON), exclude_unset=True, exclude_none=True)
    return UpstreamRequest(fields, bool(request.stream))


class Upstream:
    """A client for one model."""

    def __init__(self, url: str, key: str | None, model: str, seconds: float) -> None:
        """Ask at `url`; each of connecting, waiting for the next piece and sending may take `seconds`."""
        self.model = model
        self._client = openai.AsyncOpenAI(base_url=url, api_key=key or "none", timeout=seconds)

    async def stream(self, turns: Sequence[Turn], request: UpstreamRequest) -> AsyncGenerator[UpstreamPiece, None]:
        """Yield the reply as it is written; raise `UpstreamError` on a fault, or where it ends before its end."""
        messages = await anyio.to_thread.run_sync(_messages, turns)
        body: dict[str, Any] = {
            **request.fields,
            "model": self.model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        finished = False
        try:
            reply = await self._client.chat.completions.create(**body, extra_headers=OUTGOING.get())
            async with reply:
                async for chunk in reply:
                    piece = _piece(chunk)
                    finished = finished or piece.finish is not None
                    yield piece
        except openai.APIStatusError as error:
            logger.warning("the upstream answers with status %s", error.status_code)
            raise (UpstreamRejectedError if error.status_code in _CALLERS_FAULT else UpstreamError)() from None
        except (openai.APIError, httpx2.HTTPError, ValueError) as error:
            logger.warning("the upstream fails: %s", type(error).__name__)
            raise UpstreamError from None
        if not finished:
            logger.warning("the upstream ends a reply before its end")
            raise UpstreamError

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


class _Delta(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    delta: _Delta
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class _Chunk(BaseModel):
    """A chunk as far as it is read here; the client's own types do not check what a server sends."""

    choices: tuple[_Choice, ...]
    usage: _Usage | None = None


def _piece(chunk: object) -> UpstreamPiece:
    """Read a chunk; raise `ValidationError`, which is a ValueError."""
    read = _Chunk.model_validate(chunk, from_attributes=True)
    choice = read.choices[0] if read.choices else _Choice(delta=_Delta())
    usage = read.usage or _Usage(prompt_tokens=0, completion_tokens=0)
    return UpstreamPiece(
        text=(choice.delta.content or "") + (choice.delta.refusal or ""),
        finish=None if choice.finish_reason is None else _FINISH.get(choice.finish_reason, "stop"),
        prompt_tokens=usage.prompt_tokens,
        tokens=usage.completion_tokens,
    )


def _messages(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    return [{"role": turn.role, "content": _content(turn.parts)} for turn in turns]


def _content(parts: tuple[str | ImagePart, ...]) -> str | list[dict[str, Any]]:
    if len(parts) == 1 and isinstance(parts[0], str):
        return parts[0]
    return [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": _png(part.image)}}
        for part in parts
    ]


def _png(image: Any) -> str:
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode('ascii')}"
