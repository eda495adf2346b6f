"""An OpenAI-compatible server that replies over real HTTP what a test says, and dies when it is told to."""

import json
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from waiting import PATIENCE

PROMPT_TOKENS, TOKENS = 11, 7


@dataclass(frozen=True)
class Said:
    """A streamed reply: `parts` of deltas, then the end."""

    content: str = ""
    refusal: str = ""
    reasoning: str = ""
    finish: str | None = "stop"
    safer: dict[str, Any] | None = None
    raw: bytes | None = None
    """Sent in place of the end of the stream."""


@dataclass(frozen=True)
class Fault:
    """A reply with a status and an error object."""

    status: int
    code: str | None = None


HANG_UP = "hang up"
"""Break the connection without a word."""
Reaction = Said | Fault | str | dict[str, Any]
Script = Callable[[dict[str, Any]], Reaction]
"""From a request's body to a streamed reply, a fault, `HANG_UP`, or a JSON object as it is."""


@dataclass
class ScriptedEndpoint:
    """What it does, and what it was asked; it may be started again on the same port."""

    script: Script
    models: tuple[str, ...] = ("scripted",)
    protocol: str | None = None
    """The hash that makes it a guard."""
    port: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    _server: Any = None
    _thread: Any = None

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Serve in a thread."""
        self._server = _Server(("127.0.0.1", self.port), self)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def die(self) -> None:
        """Take no more connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)


@contextmanager
def serving(endpoint: ScriptedEndpoint) -> Iterator[ScriptedEndpoint]:
    """Serve on loopback."""
    endpoint.start()
    try:
        yield endpoint
    finally:
        endpoint.die()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    """Where it is full, a busy machine's next connection waits a second or more."""

    def __init__(self, address: tuple[str, int], endpoint: ScriptedEndpoint) -> None:
        self.endpoint = endpoint
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where the client has gone."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    @property
    def _endpoint(self) -> ScriptedEndpoint:
        assert isinstance(self.server, _Server)
        return self.server.endpoint

    def do_GET(self) -> None:
        endpoint = self._endpoint
        if self.path == "/v1/models" and endpoint.models:
            self._json(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in endpoint.models]})
        elif self.path == "/v1/protocol" and endpoint.protocol is not None:
            self._json(200, {"protocol_hash": endpoint.protocol})
        else:
            self._json(404, {"error": {"message": "no such page", "type": "x", "param": None, "code": None}})

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        data = self.rfile.read(length)
        if len(data) < length:
            return  # the client has gone in the middle of its request
        body = json.loads(data)
        self._endpoint.bodies.append(body)
        self._endpoint.keys.append(self.headers["authorization"])
        match self._endpoint.script(body):
            case Said() as said:
                self._stream(said)
            case Fault(status, code):
                self._json(status, {"error": {"message": "scripted", "type": "x", "param": None, "code": code}})
            case str():
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
            case dict() as found:
                self._json(200, found)

    def _stream(self, said: Said) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for key, text in (("reasoning", said.reasoning), ("content", said.content), ("refusal", said.refusal)):
            for part in (text[: len(text) // 2], text[len(text) // 2 :]):
                if part:
                    self._event(choices=[{"index": 0, "delta": {key: part}, "finish_reason": None}])
        if said.raw is not None:
            self.wfile.write(said.raw)
            return
        if said.finish is None:
            return
        self._event(choices=[{"index": 0, "delta": {}, "finish_reason": said.finish}])
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": TOKENS, "total_tokens": PROMPT_TOKENS + TOKENS}
        self._event(choices=[], usage=usage, **({"safer": said.safer} if said.safer else {}))
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, **fields: Any) -> None:
        head = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "scripted"}
        self.wfile.write(f"data: {json.dumps({**head, **fields})}\n\n".encode())

    def _json(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
