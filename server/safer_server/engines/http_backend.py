"""A vLLM server behind HTTP.

It is asked at its token interface where it has that (`--enable-scale-out`, as `safer vllm` starts it), else for chat completions.
"""

from collections.abc import AsyncGenerator

import anyio
import httpx
from httpx_sse import EventSource, SSEError
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_json

from safer_server.engines.backend import (
    BackendError,
    BusyError,
    Chunk,
    Parameters,
    UnreachableError,
    refusal,
)
from safer_server.engines.codec import Prompt
from safer_server.engines.http_body import chat_body, token_body
from safer_server.outgoing import OUTGOING

_TOKENS, _CHAT = "/inference/v1/generate", "/v1/chat/completions"
_JSON = {"Content-Type": "application/json"}
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
    id: str
    max_model_len: int


class _Models(BaseModel):
    data: tuple[_Model, ...] = Field(min_length=1)


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
        self._model = _Model(id="", max_model_len=0)
        self._takes_tokens = True

    async def context(self) -> int:
        """Read the model's name and context length off the list of models, and find out which interface there is."""
        try:
            response = await self._client.get("/v1/models", timeout=self._answer_seconds)
            response.raise_for_status()
            model = _Models.model_validate_json(response.content).data[0]
            found = await self._client.get(_TOKENS, timeout=self._answer_seconds)
        except (httpx.HTTPError, ValidationError) as error:
            raise UnreachableError(f"{type(error).__name__} at /v1/models") from error
        self._model, self._takes_tokens = model, found.status_code != httpx.codes.NOT_FOUND
        return model.max_model_len

    def _body(self, prompt: Prompt, parameters: Parameters) -> bytes:
        if self._takes_tokens:
            body = token_body(prompt, parameters)
        else:
            body = chat_body(self._model.id, self._model.max_model_len, prompt, parameters)
        return to_json(body)

    async def generate(self, prompt: Prompt, parameters: Parameters) -> AsyncGenerator[Chunk, None]:
        """Stream the tokens of a reply."""
        path = _TOKENS if self._takes_tokens else _CHAT
        if prompt.images:  # they take their time to encode
            body = await anyio.to_thread.run_sync(self._body, prompt, parameters)
        else:
            body = self._body(prompt, parameters)
        try:
            headers = {**_JSON, **OUTGOING.get()}
            async with self._client.stream("POST", path, content=body, headers=headers) as response:
                await _raise_for_status(response)
                async for event in EventSource(response).aiter_sse():
                    if event.data == "[DONE]":
                        return
                    for chunk in _chunks(event.data):
                        yield chunk
                raise UnreachableError("the stream broke off")
        except (httpx.HTTPError, SSEError) as error:
            raise UnreachableError(f"{type(error).__name__} while generating") from error

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


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
    return UnreachableError(f"HTTP {fault.code}")  # its message may repeat the request
