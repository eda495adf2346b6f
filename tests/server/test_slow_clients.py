"""Clients that stop half way: in a body, in a stream, or with one half of the connection; none of them holds a place."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import pytest
from starlette.requests import Request

from api_keys import bearer, entry, key_of, keys
from safer_server.body import ClientLimits, read_body
from safer_server.engines.base import EngineRequest, Piece
from safer_server.engines.scripted import ScriptedEngine, Take, table
from safer_server.errors import SlowClientError
from waiting import PATIENCE

ANSWER = "This is a scripted answer: no model was asked."
SHORT = 1
"""Seconds that the server gives its clients where a test has to see the end of it."""


@contextmanager
def connected(url: str, receive_buffer: int | None = None) -> Iterator[socket.socket]:
    """Open a connection."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as opened:
        opened.settimeout(PATIENCE)
        if receive_buffer is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        opened.connect((host, int(port)))
        yield opened


def request(body: bytes, headers: Mapping[str, str] = MappingProxyType({}), length: int | None = None) -> bytes:
    """Write a request for a completion, perhaps one that announces more than it sends."""
    head = {"Host": "guard", "Content-Type": "application/json", "Content-Length": str(length or len(body)), **headers}
    lines = ["POST /v1/chat/completions HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def rest(opened: socket.socket) -> bytes:
    """Read until the server closes."""
    return b"".join(iter(lambda: opened.recv(65536), b""))


class _Watched(ScriptedEngine):
    """Says when a reply to `watched` began, and when it was closed."""

    def __init__(self, take: Take, **options: Any) -> None:
        super().__init__(table({"watched": take}), **options)
        self.began = threading.Event()
        self.closed = threading.Event()

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Piece, None]:
        watched = request.turns[-1].text == "watched"
        try:
            async for piece in super().stream(request):
                if watched:
                    self.began.set()
                yield piece
        finally:
            if watched:
                self.closed.set()


@pytest.mark.parametrize("sent", [b"", b'{"model": "scri'])
def test_a_body_that_stops_is_a_408_and_the_end_of_the_connection(live: Callable[..., Any], sent: bytes) -> None:
    server = live(client_seconds=SHORT)
    with connected(server.url) as opened:
        opened.sendall(request(sent, length=1000))
        head, _, body = rest(opened).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head.lower()
    error = json.loads(body)["error"]
    assert (error["code"], error["message"]) == ("request_timeout", "Nothing more of the body came for 1 seconds.")
    assert "scri" not in error["message"]


def test_a_body_that_stops_does_not_hold_its_keys_place(
    live: Callable[..., Any], chat_body: Callable[..., dict[str, Any]]
) -> None:
    server = live(client_seconds=SHORT, keys=keys(entry("alice", concurrency=1)))
    with connected(server.url) as opened:
        opened.sendall(request(b"{", bearer("alice"), length=1000))
        assert rest(opened).startswith(b"HTTP/1.1 408 ")
        client = server.openai.with_options(api_key=key_of("alice"), max_retries=5)  # itself no faster than its machine
        assert client.chat.completions.create(**chat_body()).safer["outcome"] == "answered"


@pytest.mark.anyio
async def test_a_body_that_comes_slowly_but_comes_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, clock, loop = 8, 0.0, asyncio.get_running_loop()

    async def receive() -> dict[str, Any]:
        nonlocal parts, clock
        parts -= 1
        clock += 1.5
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"x", "more_body": parts > 0}

    slow = Request({"type": "http", "headers": []}, receive)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", lambda: clock)
        assert await read_body(slow, ClientLimits(body_bytes=8, seconds=2)) == b"x" * 8

    async def silent() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    with pytest.raises(SlowClientError):
        await read_body(Request({"type": "http", "headers": []}, silent), ClientLimits(body_bytes=9, seconds=0.01))


@pytest.mark.parametrize("length", [1000, 10**12])
def test_a_key_is_checked_before_the_body_comes(live: Callable[..., Any], length: int) -> None:
    server = live(keys=keys(entry("alice")))
    for headers, status in (({}, b"401"), (bearer("wrong"), b"401")):
        with connected(server.url) as opened:
            opened.sendall(request(b"", headers, length=length))
            assert opened.recv(12) == b"HTTP/1.1 " + status


def test_a_client_that_never_reads_loses_its_stream_and_its_places(
    live: Callable[..., Any],
    written: Callable[[str], str],
    chat_body: Callable[..., dict[str, Any]],
    server_log: pytest.LogCaptureFixture,
) -> None:
    engine = _Watched(Take(written("hello").replace(ANSWER, ANSWER + "x" * 20_000)), characters=8)
    settings = {"answer_tokens": 10_000, "keys": keys(entry("alice", concurrency=1))}
    server = live(engine, client_seconds=SHORT, max_in_flight=1, **settings)
    server.listener.setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF, 4096
    )  # so that the stream is more than buffers hold
    with connected(server.url, receive_buffer=4096) as opened:
        body = json.dumps(chat_body("watched", stream=True)).encode()
        opened.sendall(request(body, {**bearer("alice"), "X-Request-Id": "never-reads"}))
        assert engine.closed.wait(PATIENCE)
        create = server.openai.with_options(api_key=key_of("alice"), max_retries=5).chat.completions.create
        assert create(**chat_body("hello")).safer["outcome"] == "answered"
        assert engine.cancelled == 1
        said = "the client read nothing for 1 seconds [request_id=never-reads caller=alice]"
        assert said in server_log.text
        assert "Traceback" not in server_log.text
        assert b"[DONE]" not in rest(opened)  # what was on its way, and the end


@pytest.mark.parametrize("streamed", [True, False])
def test_a_half_closed_connection_is_a_client_that_has_gone(
    live: Callable[..., Any],
    written: Callable[[str], str],
    chat_body: Callable[..., dict[str, Any]],
    streamed: bool,
) -> None:
    engine = _Watched(Take(written("hello"), wait_at=40, event=asyncio.Event()))
    server = live(engine, max_in_flight=1)
    with connected(server.url) as opened:
        opened.sendall(request(json.dumps(chat_body("watched", stream=streamed)).encode()))
        assert engine.began.wait(PATIENCE)
        opened.shutdown(socket.SHUT_WR)
        assert engine.closed.wait(PATIENCE)
        rest(opened)
    assert server.openai.chat.completions.create(**chat_body("hello")).safer["outcome"] == "answered"


def test_half_a_body_and_then_nobody_is_not_an_error_of_the_servers(
    live: Callable[..., Any], server_log: pytest.LogCaptureFixture
) -> None:
    server = live()
    with connected(server.url) as opened:
        opened.sendall(request(b'{"model"', length=1000))
        opened.shutdown(socket.SHUT_WR)
        assert rest(opened) == b""
    assert server.openai.models.list().data  # the loop has come round since
    assert "Traceback" not in server_log.text
    assert "failed" not in server_log.text
