"""Thousands of broken requests over keep-alive connections: a 4xx or a 200, no echo, no hang, and nothing left behind."""

import gc
import http.client
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from attack import BODIES
from broken_requests import MARK, BrokenRequest, broken_requests
from server_load import CountingEngine, load_of
from waiting import PATIENCE, wait_for

MOST_GROWTH = 32 * 2**20
"""Bytes that the process may have grown by after all of them."""


class Client:
    """One connection that is kept as long as it can be."""

    def __init__(self, url: str) -> None:
        self._address = (httpx.URL(url).host, httpx.URL(url).port or 0)
        self._socket: socket.socket | None = None

    def send(self, request: BrokenRequest) -> tuple[int, bytes] | None:
        """Send it and read the first response; None where the server may wait for more, and the client goes away instead."""
        connection = self._socket or socket.create_connection(self._address, timeout=PATIENCE)
        self._socket = None
        try:
            connection.sendall(request.sent)
            if request.end == "missing":
                return None
            response = http.client.HTTPResponse(connection, method="POST")
            response.begin()
            told = response.status, response.read() + str(response.headers).encode()
            if request.end == "clear" and not response.will_close:
                self._socket = connection
            return told
        except ConnectionError:
            if request.end == "clear":
                raise
            return None  # the server need not read what comes after the fault
        finally:
            if self._socket is None:
                connection.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()


def resident() -> int:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_nothing_that_is_broken_does_harm(
    live: Callable[..., Any], chat_body: Callable[..., dict[str, Any]], server_log: pytest.LogCaptureFixture
) -> None:
    server_log.set_level(logging.WARNING)  # pytest keeps whatever is logged, and it would grow with the requests
    engine = CountingEngine()
    server = live(engine, max_body_bytes=65_536, audit=False)  # whose files come and go by themselves

    def ask() -> httpx.Response:
        return httpx.post(f"{server.url}/v1/chat/completions", json=chat_body(), trust_env=False, timeout=PATIENCE)

    assert ask().status_code == 200
    before, statuses, grown_from = load_of(server.loop, engine), dict[int, int](), 0
    client = Client(server.url)
    for number, request in enumerate(broken_requests(BODIES)):
        if number == BODIES // 10:
            grown_from = resident()
        asked = len(engine.requests)
        told = client.send(request)
        if told is None:
            continue
        status, text = told
        statuses[status] = statuses.get(status, 0) + 1
        assert status in (200, 400, 404, 405, 413, 415), (request.name, told)
        if status != 200:
            assert MARK not in text, request.name
            assert len(engine.requests) == asked, request.name
    client.close()
    assert ask().status_code == 200
    wait_for(lambda: load_of(server.loop, engine) <= before)
    assert {200, 400, 404, 405, 413, 415} == set(statuses)
    assert resident() - grown_from < MOST_GROWTH
    told_to_log = [
        record for record in server_log.records if record.name in ("uvicorn.error", "safer_server.edge", "asyncio")
    ]
    assert not [record for record in told_to_log if record.exc_info or MARK.decode() in record.getMessage()]


def test_a_body_that_is_no_http_leaves_a_line_and_no_traceback(
    live: Callable[..., Any], server_log: pytest.LogCaptureFixture
) -> None:
    url = httpx.URL(live().url)
    head = b"POST /v1/checks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((url.host, url.port or 0), timeout=PATIENCE) as connection:
        connection.sendall(head + MARK + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    wait_for(lambda: "broke off" in server_log.text)
    assert not [record for record in server_log.records if record.exc_info or MARK.decode() in record.getMessage()]
