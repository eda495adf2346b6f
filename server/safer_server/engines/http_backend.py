"""A vLLM server behind HTTP, asked at its token interface (`/inference/v1/generate`).

Token ids go there as we encode them, so nothing that a user writes can become a special token, and token ids come back.
"""

from base64 import b64encode
from collections.abc import AsyncGenerator
from io import BytesIO
from typing import Any

import anyio
import httpx
from httpx_sse import EventSource, SSEError
from pydantic import BaseModel, ValidationError

from safer_server.engines.backend import (
    BackendError,
    BusyError,
    Chunk,
    Parameters,
    UnreachableError,
    refusal,
)
from safer_server.engines.codec import Prompt

_BUSY = (429, 503)
_REFUSED = (400, 413, 422)


class _Usage(BaseModel):
    prompt_tokens: int


class _Choice(BaseModel):
    token_ids: tuple[int, ...] | None = None
    finish_reason: str | None = None


class _Fault(BaseModel):
    message: str = "no reason given"
    code: int = 500


class _Frame(BaseModel):
    """One event of the stream: tokens, or what is wrong, for which HTTP says 200 all the same."""

    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None
    error: _Fault | None = None


class _Model(BaseModel):
    max_model_len: int


class _Models(BaseModel):
    data: tuple[_Model, ...]


class HttpBackend:
    """One vLLM server."""

    def __init__(self, url: str, connect_seconds: float, answer_seconds: float, key: str | None = None) -> None:
        """Prepare to ask the server at a base URL such as `http://vllm:8001`; `answer_seconds` bounds short questions."""
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            # How long a reply may take is bounded by whoever asks for it.
            timeout=httpx.Timeout(None, connect=connect_seconds),
            limits=httpx.Limits(max_connections=None, keepalive_expiry=10),
            trust_env=False,
        )
        self._answer_seconds = answer_seconds

    async def context(self) -> int:
        """Read the model's context length off the list of models."""
        try:
            response = await self._client.get("/v1/models", timeout=self._answer_seconds)
            response.raise_for_status()
            return min(model.max_model_len for model in _Models.model_validate_json(response.content).data)
        except (httpx.HTTPError, ValueError) as error:
            raise UnreachableError(f"{type(error).__name__} at /v1/models") from error

    async def generate(self, prompt: Prompt, parameters: Parameters) -> AsyncGenerator[Chunk, None]:
        """Stream the tokens of a reply."""
        body = {
            "token_ids": prompt.ids,
            "sampling_params": parameters,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        if prompt.images:
            body["content_parts"] = await anyio.to_thread.run_sync(_content_parts, prompt.images)
        try:
            async with self._client.stream("POST", "/inference/v1/generate", json=body) as response:
                await _raise_for_status(response)
                async for event in EventSource(response).aiter_sse():
                    if event.data == "[DONE]":
                        return
                    for chunk in _chunks(event.data):
                        yield chunk
        except (httpx.HTTPError, SSEError) as error:
            raise UnreachableError(f"{type(error).__name__} while generating") from error

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _content_parts(images: tuple[Any, ...]) -> list[dict[str, str]]:
    return [{"type": "image_url", "url": _data_url(image)} for image in images]


def _data_url(image: Any) -> str:
    """Write a picture without loss, in little time rather than in few bytes."""
    file = BytesIO()
    image.save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode('ascii')}"


def _chunks(data: str) -> list[Chunk]:
    try:
        frame = _Frame.model_validate_json(data)
    except ValidationError as error:
        raise UnreachableError("what it streams is no reply") from error
    if frame.error is not None:
        raise _failure(frame.error)
    prompt_tokens = frame.usage.prompt_tokens if frame.usage else 0
    return [Chunk(choice.token_ids or (), prompt_tokens, choice.finish_reason) for choice in frame.choices]


async def _raise_for_status(response: httpx.Response) -> None:
    if response.is_success:
        return
    try:
        fault = _Frame.model_validate_json(await response.aread()).error or _Fault()
    except ValidationError:
        fault = _Fault()
    raise _failure(fault.model_copy(update={"code": response.status_code}))


def _failure(fault: _Fault) -> BackendError:
    """Make the error that tells whether another replica should be asked."""
    if fault.code in _REFUSED:
        return refusal(fault.message)
    if fault.code in _BUSY:
        return BusyError(fault.message)
    return UnreachableError(f"HTTP {fault.code}: {fault.message}")
