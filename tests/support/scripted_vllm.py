"""A vLLM server that plays replies and faults over real HTTP: what its interfaces say, without a model."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from safer_protocol.text import PLAN_OPEN
from safer_server.engines.codec import Codec
from safer_server.engines.replica import CANARY_TOKENS
from safer_server.settings import PACKAGED_CHECKPOINT
from threaded_server import serving_app

CODEC = Codec.of_checkpoint(PACKAGED_CHECKPOINT)
PROMPT_TOKENS = 17

Frame = dict[str, Any] | str | float | None
"""What is streamed: JSON, raw text, seconds to wait, or the end of the connection."""


def tokens(ids: Iterable[int] | None, finish: str | None = None, prompt_tokens: int = PROMPT_TOKENS) -> Frame:
    """A frame with some tokens."""
    choice = {"index": 0, "token_ids": None if ids is None else list(ids), "finish_reason": finish}
    return {"choices": [choice], "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 1}}


def written(text: str, end: int = CODEC.end) -> list[Frame]:
    """A whole reply, token by token."""
    return [*(tokens([token]) for token in CODEC.encode(text)), tokens([end], "stop")]


def fault(message: str, code: int) -> Frame:
    """What vLLM streams where something is wrong, under HTTP 200."""
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": code}}


Script = Callable[[dict[str, Any]], "Iterable[Frame] | Response"]


def is_canary(body: dict[str, Any]) -> bool:
    """Whether a request is the engine's own question."""
    return bool(body.get("sampling_params", body).get("logit_bias"))


def bound(_: dict[str, Any]) -> list[Frame]:
    """Answer a canary as a server whose constraint binds."""
    ids = CODEC.encode(f"{PLAN_OPEN}\ncategory=none; risk=none")[:CANARY_TOKENS]
    return [*(tokens([token]) for token in ids), tokens([], "length")]


def ignoring(_: dict[str, Any]) -> list[Frame]:
    """Answer a canary as a server that ignores what it does not know."""
    return [*(tokens(CODEC.encode("!")) for _ in range(CANARY_TOKENS)), tokens([], "length")]


@dataclass
class ScriptedVllm:
    """Answers canaries and replies by two scripts, which may be exchanged while it runs."""

    reply: Script
    canary: Script = bound
    takes_tokens: bool = True
    context: int = 4096
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """Requests for replies, canaries left out."""
    headers: list[dict[str, str]] = field(default_factory=list)
    """What those requests carried."""
    canaries: int = 0
    """Requests by which the engine proves the constraint."""
    running: int = 0
    abandoned: int = 0
    """Streams whose client went away before their end."""
    url: str = ""

    def app(self) -> Starlette:
        """The HTTP application."""
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._answer, methods=["POST"]),
        ]
        if self.takes_tokens:
            routes.append(Route("/inference/v1/generate", self._answer, methods=["POST"]))
        return Starlette(routes=routes)

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "served", "max_model_len": self.context}]})

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        if is_canary(body):
            self.canaries += 1
        else:
            self.bodies.append(body)
            self.headers.append(dict(request.headers))
        answer = (self.canary if is_canary(body) else self.reply)(body)
        return (
            answer
            if isinstance(answer, Response)
            else StreamingResponse(self._frames(answer), media_type="text/event-stream")
        )

    async def _frames(self, frames: Iterable[Frame]) -> AsyncIterator[bytes]:
        self.running += 1
        ended = False
        try:
            for frame in frames:
                match frame:
                    case None:
                        ended = True
                        return
                    case float() | int():
                        await asyncio.sleep(frame)
                    case str():
                        yield frame.encode()
                    case dict():
                        yield f"data: {json.dumps(frame)}\n\n".encode()
            ended = True
            yield b"data: [DONE]\n\n"
        finally:
            self.running -= 1
            self.abandoned += not ended


@contextmanager
def serving(vllm: ScriptedVllm) -> Iterator[ScriptedVllm]:
    """Serve on a free port of the loopback while in the context."""
    with serving_app(vllm.app(), timeout_graceful_shutdown=1) as server:
        vllm.url = server.url
        yield vllm
