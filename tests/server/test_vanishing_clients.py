"""Clients that break off, shut up, or do not wait their turn: the server forgets them, and serves the others."""

import asyncio
import json
import logging
import re
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from safer_server.engines.scripted import Take, table
from server_load import CountingEngine, load_of
from waiting import PATIENCE, wait_for

MESSAGES = [{"role": "user", "content": "wait"}]
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"model": "scripted", "messages": MESSAGES}),
    ("/v1/chat/completions", {"model": "scripted", "messages": MESSAGES, "stream": True}),
    ("/v1/checks", {"messages": MESSAGES}),
    ("/v1/moderations", {"input": ["wait", "wait"]}),
    ("/beta/litellm_basic_guardrail_api", {"input_type": "request", "texts": ["wait"]}),
]


def request(path: str, body: dict[str, Any], connection: str = "keep-alive") -> bytes:
    """Write a request."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Connection: {connection}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


def leave(connection: socket.socket, how: str) -> None:
    """Close, say that nothing more comes, or reset."""
    match how:
        case "half-closes":
            connection.shutdown(socket.SHUT_WR)
        case "resets":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        case "closes":
            connection.close()


@pytest.mark.parametrize("how", ["closes", "half-closes", "resets"])
def test_a_client_that_breaks_off_leaves_nothing_behind(
    live: Callable[..., Any], written: Callable[[str], str], server_log: pytest.LogCaptureFixture, how: str
) -> None:
    engine = CountingEngine(table({"wait": Take(written("hello"), wait_at=40, event=asyncio.Event())}))
    server = live(engine, audit=False)  # whose files come and go by themselves
    url = httpx.URL(server.url)
    assert server.openai.moderations.create(input="hello").results
    before = load_of(server.loop, engine)
    for path, body in BODIES:
        whole = request(path, body)
        for sent in (0, 20, whole.index(b"\r\n\r\n") + 4, len(whole) - 5, len(whole)):
            with socket.create_connection((url.host, url.port or 0), timeout=PATIENCE) as connection:
                connection.sendall(whole[:sent])
                if sent == len(whole):
                    wait_for(lambda: engine.running)
                    if body.get("stream"):
                        assert connection.recv(10)
                leave(connection, how)
                wait_for(lambda: not engine.running)
                if how == "half-closes":
                    while connection.recv(65_536):
                        pass
    wait_for(lambda: load_of(server.loop, engine) <= before)
    assert server.openai.moderations.create(input="hello").results
    assert not [record for record in server_log.records if record.levelno >= logging.WARNING]


def test_requests_that_are_sent_at_once_are_answered_in_their_order(live: Callable[..., Any]) -> None:
    url = httpx.URL(live().url)
    texts = ["hello", "steal", "hello", "weapon"]
    with socket.create_connection((url.host, url.port or 0), timeout=PATIENCE) as connection:
        requests = [request("/v1/moderations", {"input": text}) for text in texts[:-1]]
        requests.append(request("/v1/moderations", {"input": texts[-1]}, "close"))
        connection.sendall(b"".join(requests))
        with connection.makefile("rb") as replies:
            whole = replies.read()
    bodies = re.findall(rb"\r\n\r\n(.+?)(?=HTTP/1\.1 |\Z)", whole, re.DOTALL)
    flagged = [json.loads(body)["results"][0]["flagged"] for body in bodies]
    assert flagged == [False, True, False, True]


def test_many_silent_connections_keep_nobody_out(live: Callable[..., Any]) -> None:
    server = live()
    url = httpx.URL(server.url)
    with ExitStack() as stack:
        for number in range(200):
            connection = stack.enter_context(socket.create_connection((url.host, url.port or 0), timeout=PATIENCE))
            connection.sendall(b"POST /v1/checks HT"[: number % 18])
        for _ in range(10):
            assert server.openai.moderations.create(input="hello").results
