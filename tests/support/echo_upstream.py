"""A model without a guard, for those who put one in front of it: it says what it was told, whole or word by word."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from waiting import PATIENCE


class EchoUpstream(ThreadingHTTPServer):
    """Answers every POST as chat completions are answered, on loopback, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.bodies: list[dict[str, Any]] = []


@contextmanager
def echo_upstream() -> Iterator[EchoUpstream]:
    """Serve in a thread."""
    with EchoUpstream() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(PATIENCE)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, EchoUpstream)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
        if body.get("stream"):
            self._send("text/event-stream", "".join(f"data: {data}\n\n" for data in (*_chunks(text), "[DONE]")))
        else:
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            message = {"role": "assistant", "content": text}
            self._send("application/json", _reply("chat.completion", "stop", message=message, usage=usage))

    def _send(self, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _chunks(text: str) -> Iterator[str]:
    for word in text.split(" "):
        yield _reply("chat.completion.chunk", None, delta={"role": "assistant", "content": f"{word} "})
    yield _reply("chat.completion.chunk", "stop", delta={})


def _reply(kind: str, finish: str | None, *, usage: object = None, **told: object) -> str:
    choice = {"index": 0, "finish_reason": finish, **told}
    reply = {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "echo", "choices": [choice], "usage": usage}
    return json.dumps(reply)
