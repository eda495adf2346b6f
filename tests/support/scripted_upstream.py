"""A model behind the guard that plays replies and faults over real HTTP."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from safer_server.deadline import until
from safer_server.upstream import Upstream
from threaded_server import serving_app
from waiting import PATIENCE

PROMPT_TOKENS, TOKENS = 11, 7

MODEL = "behind"


class CutError(Exception):
    """Ends the connection in the middle of a reply."""


@dataclass
class ScriptedUpstream:
    """What it says, and what it was asked."""

    say: tuple[str, ...] = ("An answer ", "in two parts.")
    finish: str | None = "stop"
    status: int = 200
    raw: bytes | None = None
    """Sent after the parts as it is, in place of the end of the reply."""
    cut: bool = False
    hang: bool = False
    """Wait for ever after the parts."""
    as_refusal: bool = False
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    """Set when a client leaves a reply that hangs."""
    url: str = ""

    async def create(self, request: Request) -> Response:
        """Answer `POST /v1/chat/completions`."""
        self.requests.append(await request.json())
        self.headers.append(dict(request.headers))
        if self.status != 200:
            return JSONResponse({"error": {"message": "the secret of the upstream"}}, self.status)
        return StreamingResponse(self._frames(), media_type="text/event-stream")

    async def _frames(self) -> AsyncIterator[bytes]:
        for text in self.say:
            yield self._frame({"refusal" if self.as_refusal else "content": text})
        if self.hang:
            try:
                await asyncio.Event().wait()
            finally:
                self.gone.set()
        if self.cut:
            raise CutError
        if self.raw is not None:
            yield self.raw
            return
        yield self._frame({}, self.finish)
        yield self._frame(None)
        yield b"data: [DONE]\n\n"

    def _frame(self, delta: dict[str, Any] | None, finish: str | None = None) -> bytes:
        chunk: dict[str, Any] = {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": MODEL,
            "choices": [],
        }
        if delta is None:
            chunk["usage"] = {
                "prompt_tokens": PROMPT_TOKENS,
                "completion_tokens": TOKENS,
                "total_tokens": PROMPT_TOKENS + TOKENS,
            }
        else:
            chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return f"data: {json.dumps(chunk)}\n\n".encode()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a guard that stands before it."""
        return {"upstream_url": f"{self.url}/v1", "upstream_model": MODEL, "upstream_key": "the key"}

    def client(self) -> Upstream:
        """The guard's client for it."""
        return Upstream(f"{self.url}/v1", "the key", MODEL, PATIENCE)


def hurry_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let replies take little time, and judging them as much as ever."""
    monkeypatch.setattr("safer_server.relay.until", lambda items, _: until(items, 2))


@contextmanager
def serving(upstream: ScriptedUpstream) -> Iterator[ScriptedUpstream]:
    """Serve it on loopback."""
    app = Starlette(routes=[Route("/v1/chat/completions", upstream.create, methods=["POST"])])
    with serving_app(app, lifespan="off", timeout_graceful_shutdown=1) as server:
        upstream.url = server.url
        yield upstream
