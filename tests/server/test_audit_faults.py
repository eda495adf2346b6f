"""The database goes away and comes back, the spool is full, the server is killed: nothing that was answered is lost."""

import asyncio
import errno
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from starlette.testclient import TestClient

from audited import ask, entries, recording, records, spooled
from safer_server.audit.log import AuditLog
from safer_server.engines.scripted import ScriptedEngine
from waiting import PATIENCE, wait_for


def metric(client: TestClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep the database from everybody else."""
    database = sqlite3.connect(folder / "audit.db", isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        database.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safer_server.audit.database._SECONDS", 0.1)
    monkeypatch.setattr("safer_server.audit.log._ROOM_SECONDS", 0.2)


def test_while_the_database_is_away_records_wait(tmp_path: Path) -> None:
    with recording(tmp_path) as client:
        ask(client)
        wait_for(lambda: metric(client, "safer_audit_up") == 1 and not spooled(tmp_path))
        with locked(tmp_path):
            for _ in range(5):
                assert ask(client).status_code == 200
            wait_for(lambda: metric(client, "safer_audit_up") == 0 and metric(client, "safer_audit_spool_records") == 5)
            wait_for(lambda: metric(client, "safer_audit_spool_bytes") > 5000)
        wait_for(lambda: metric(client, "safer_audit_up") == 1 and metric(client, "safer_audit_spool_records") == 0)
    assert len(records(tmp_path)) == 6


class EngineThatCannotClose(ScriptedEngine):
    async def close(self) -> None:
        raise RuntimeError("the engine cannot be closed")


def test_an_engine_that_cannot_be_closed_costs_no_record(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="the engine cannot be closed"),
        recording(tmp_path, EngineThatCannotClose()) as client,
    ):
        assert ask(client).status_code == 200
    assert (len(records(tmp_path)), spooled(tmp_path)) == (1, 0)


@pytest.mark.parametrize("kind", ["a folder", "no database"])
def test_a_database_that_is_none_keeps_no_server_from_starting(kind: str, tmp_path: Path) -> None:
    database = tmp_path / "audit.db"
    database.mkdir() if kind == "a folder" else database.write_bytes(b"something else" * 1000)
    with recording(tmp_path) as client:
        assert ask(client).status_code == 200
        response = client.get("/v1/traces")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "audit_unavailable")
        assert response.headers["retry-after"] == "5"
    assert spooled(tmp_path) == 1
    database.rmdir() if kind == "a folder" else database.unlink()
    with recording(tmp_path):
        pass
    assert (len(records(tmp_path)), spooled(tmp_path)) == (1, 0)


def test_a_full_spool_turns_requests_away_until_there_is_room(tmp_path: Path) -> None:
    with recording(tmp_path, audit_spool_bytes=5000) as client:
        ask(client)
        wait_for(lambda: not spooled(tmp_path))
        with locked(tmp_path):
            statuses = [ask(client).status_code for _ in range(4)]
            assert statuses == [200, 200, 503, 503]
            response = ask(client, stream=True)
            assert (response.status_code, response.json()["error"]["code"]) == (503, "audit_unavailable")
            assert response.headers["retry-after"] == "5"
            assert client.post("/v1/moderations", json={"input": "hello"}).status_code == 503
        wait_for(lambda: ask(client).status_code == 200)
    assert len(records(tmp_path)) == 4


def test_a_request_waits_for_room_before_it_is_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safer_server.audit.log._ROOM_SECONDS", PATIENCE)
    with recording(tmp_path, audit_spool_bytes=1) as client:
        ask(client)
        wait_for(lambda: not spooled(tmp_path))
        with ThreadPoolExecutor(1) as pool:
            with locked(tmp_path):
                assert ask(client).status_code == 200
                waiting = pool.submit(ask, client)
                wait_for(lambda: metric(client, "safer_in_flight") == 1)
                assert not waiting.done()
            assert waiting.result().status_code == 200


NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}),
        ("/v1/checks", {"messages": [{"role": "user", "content": "hello"}]}),
        ("/v1/moderations", {"input": "hello"}),
        ("/beta/litellm_basic_guardrail_api", {"texts": ["hello"], "input_type": "request", "request_data": {}}),
    ],
)
def test_what_cannot_be_recorded_is_not_answered(path: str, body: dict[str, Any], tmp_path: Path) -> None:
    with recording(tmp_path) as client:
        with patch("safer_server.audit.spool.Spool.append", side_effect=NO_ROOM):
            response = client.post(path, json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "audit_unavailable")
        assert 'safer_failed_closed_total{reason="audit_unavailable"} 1.0' in client.get("/metrics").text
        assert client.post(path, json=body).status_code == 200
    assert len(records(tmp_path)) == 1


def test_a_stream_that_cannot_be_recorded_has_no_end(tmp_path: Path) -> None:
    with recording(tmp_path) as client, patch("safer_server.audit.spool.Spool.append", side_effect=NO_ROOM):
        text = ask(client, stream=True).text
    assert '"error"' in text.splitlines()[-2]
    assert "[DONE]" not in text
    assert '"finish_reason":"stop"' not in text


def test_a_place_in_the_chain_is_taken_only_by_what_was_written(tmp_path: Path) -> None:
    with recording(tmp_path) as client:
        ask(client)
        with patch("safer_server.audit.spool.Spool.append", side_effect=NO_ROOM):
            ask(client)
        ask(client)
    assert [b'"sequence":%d,' % number in entry.receipt for number, entry in enumerate(entries(tmp_path))] == [
        True,
        True,
    ]


def test_a_client_that_leaves_while_its_record_is_written_leaves_a_record(
    live: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, reached, gone = AuditLog._write, Event(), Event()

    def slowly(*arguments: Any) -> Any:
        reached.set()
        assert gone.wait(PATIENCE)
        return write(*arguments)

    monkeypatch.setattr(AuditLog, "_write", slowly)
    url = httpx.URL(live(audit_dir=tmp_path, audit_fsync=True).url)
    assert url.port is not None
    body = b'{"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(head.encode() + body)
        assert reached.wait(PATIENCE)
    gone.set()
    wait_for(lambda: list(tmp_path.glob("heads/2*")))
    assert len(records(tmp_path)) == 1


class Killed:
    """A real server that is killed under load."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.log = log
        environment = {**os.environ, "SAFER_AUDIT_DIR": str(folder), "SAFER_ENGINE": "scripted"}
        with log.open("wb") as out:
            command = [str(Path(sys.executable).with_name("safer")), "serve", "--port", "0"]
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        wait_for(lambda: "running on" in log.read_text())

    @property
    def url(self) -> str:
        return next(word for word in self.log.read_text().split() if word.startswith("http://127"))


async def answered(url: str, enough: int, kill: Callable[[], None]) -> set[str]:
    """Ask until the server dies; return the trace ids of the replies that came whole."""
    got: set[str] = set()

    async def keep_asking(web: httpx.AsyncClient, stream: bool) -> None:
        body = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
        while True:
            try:
                text = (await web.post(f"{url}/v1/chat/completions", json=body)).text
            except httpx.TransportError:
                return
            if not stream or "[DONE]" in text:
                got.add(text.partition('"trace_id":"')[2][:35])
                if len(got) >= enough:
                    kill()

    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as web:
        await asyncio.gather(*(keep_asking(web, stream=number % 2 == 1) for number in range(16)))
    return got


def test_a_server_that_is_killed_loses_no_record_of_what_it_answered(tmp_path: Path) -> None:
    server = Killed(tmp_path / "audit", tmp_path / "log")
    told = asyncio.run(answered(server.url, 100, server.process.kill))
    assert server.process.wait(PATIENCE) == -signal.SIGKILL
    with recording(tmp_path / "audit"):
        pass
    recorded = {record["trace_id"] for record in records(tmp_path / "audit")}
    assert len(told) >= 100
    assert told <= recorded
    # What was being sent when the server died may be there beside it, and no more than that.
    assert len(recorded - told) <= 16
