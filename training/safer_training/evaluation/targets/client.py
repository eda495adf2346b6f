"""The official client for a server under test, and what its faults mean for a run."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError, AsyncOpenAI, OpenAIError
from openai import BaseModel as OpenAIModel
from pydantic import BaseModel, ValidationError

from safer_training.errors import TargetError, TargetGoneError

AnyRead = TypeVar("AnyRead", bound=BaseModel)

KEY = "OPENAI_API_KEY"
RETRIES = 3
"""Of a request that found nobody, with growing pauses, as the client does it."""

_NOBODY = frozenset((401, 403, 404, 408, 429))
"""Statuses that the next question would get as well."""
_LONGEST = 160


@asynccontextmanager
async def client_for(url: str, seconds: float) -> AsyncIterator[AsyncOpenAI]:
    """Open a client; the key, where one is needed, is read from `OPENAI_API_KEY`. Raise `TargetError` for what is no URL."""
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise TargetError(f"{url} is not a URL such as http://127.0.0.1:8000/v1")
    key = os.environ.get(KEY) or "none"
    async with AsyncOpenAI(base_url=url, api_key=key, timeout=seconds, max_retries=RETRIES) as client:
        yield client


@contextmanager
def faults_told(seconds: float) -> Iterator[None]:
    """Turn a fault of a request into `TargetError`, or into `TargetGoneError` where the next one would meet it too."""
    try:
        yield
    except (APITimeoutError, TimeoutError) as error:
        raise TargetGoneError(f"no reply in {seconds:g} seconds") from error
    except APIConnectionError as error:
        raise TargetGoneError("no connection") from error
    except APIStatusError as error:
        gone = error.status_code in _NOBODY or error.status_code >= 500
        raise (TargetGoneError if gone else TargetError)(f"status {error.status_code}: {_said(error)}") from error
    except APIError as error:
        raise TargetError(f"a fault in the reply: {_said(error)}") from error
    except OpenAIError as error:
        raise TargetError(f"the client cannot ask: {type(error).__name__}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise TargetError(f"a reply of another form: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except ValueError as error:
        raise TargetError("a reply that is not JSON") from error


def _said(error: APIError) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    text = str(body.get("message") or error.code or error.type or "no reason given")
    return " ".join(text.split())[:_LONGEST]


def public(url: str) -> str:
    """Return a URL without what may be secret in it: user, password and query."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}".rstrip("/")


def read(kind: type[AnyRead], found: object) -> AnyRead:
    """Read what the client returned, which is a text where the server sent something else than JSON."""
    return kind.model_validate(found.to_dict(warnings=False) if isinstance(found, OpenAIModel) else found)


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: tuple[_Model, ...]


async def served_model(client: AsyncOpenAI, url: str, wanted: str | None, seconds: float) -> str:
    """Return the model to ask for: the wanted one, else the only one that is served; raise `TargetError`."""
    try:
        with faults_told(seconds):
            async with asyncio.timeout(seconds):
                found = [model.id for model in read(_Models, await client.models.list()).data]
    except TargetError as error:
        if wanted is not None and not isinstance(error.__cause__, APIConnectionError):
            return wanted
        hint = f"; its key is read from {KEY}" if _status(error) in (401, 403) else ""
        hint = "; is this its base URL, which mostly ends in /v1?" if _status(error) == 404 else hint
        raise TargetError(f"{public(url)} does not list its models: {error}{hint}") from error
    if wanted is not None:
        return wanted
    if len(found) != 1:
        raise TargetError(f"{public(url)} serves {', '.join(found) or 'no model'}: name one with --served")
    return found[0]


def _status(error: TargetError) -> int | None:
    return error.__cause__.status_code if isinstance(error.__cause__, APIStatusError) else None


async def protocol_hash(client: AsyncOpenAI, seconds: float) -> str | None:
    """Return the hash of a guard's protocol; None for servers that are no guard."""
    try:
        with faults_told(seconds):
            async with asyncio.timeout(seconds):
                found: Any = await client.get("/protocol", cast_to=object)
    except TargetError:
        return None
    said = found.get("protocol_hash") if isinstance(found, dict) else None
    return said if isinstance(said, str) else None
