"""A judge that answers over real HTTP what a test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from waiting import PATIENCE

Script = Callable[[dict[str, Any]], str | int | None]
"""From a request's body to the text of an answer, to the status of a fault, or to None: hang up without an answer."""

USAGE = {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}
"""What every answer is said to have taken."""

FULL = '{"task_success": 10, "safety": 10, "helpfulness": 10, "tool_quality": 10}'


class ScriptedJudge(ThreadingHTTPServer):
    """Answers chat completions by a script and keeps what it was asked."""

    request_queue_size = 128
    """Where it is full, a busy machine's next connection waits a second or more."""

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.script = script
        self.bodies: list[dict[str, Any]] = []


@contextmanager
def scripted_judge(script: Script) -> Iterator[ScriptedJudge]:
    """Serve in a thread."""
    with ScriptedJudge(script) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(PATIENCE)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, ScriptedJudge)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        match self.server.script(body):
            case str(text):
                message = {"role": "assistant", "content": text}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                head = {"id": "1", "object": "chat.completion", "created": 0, "model": "judge"}
                self._send(200, {**head, "choices": [choice], "usage": USAGE})
            case int(status):
                self._send(status, {"error": {"message": "scripted", "type": "x", "param": None, "code": None}})
            case None:
                self.close_connection = True

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
