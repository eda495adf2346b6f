"""The internal port: console, audit log and metrics are there alone, whatever a caller says, in one process and in several."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from api_keys import bearer, entry, keys
from ports import free_port
from safer_server.settings import Settings
from waiting import PATIENCE, wait_for

INTERNAL = "http://testserver:9100/metrics"
KEYS = keys(entry("scraper", "metrics"), entry("user"))


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "testserver:9100"},
        {"x-forwarded-port": "9100", "x-forwarded-host": "testserver:9100", "forwarded": "host=testserver:9100"},
        bearer("scraper"),
    ],
)
def test_the_public_port_knows_no_metrics(
    in_process: Callable[..., TestClient], method: str, headers: dict[str, str]
) -> None:
    client = in_process(internal_port=9100, keys=KEYS)
    response = client.request(method, "/metrics", headers=headers)
    assert response.status_code == 404
    assert response.content == client.request(method, "/nowhere").content


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("stranger", 401), ("user", 403), ("scraper", 200)])
def test_the_internal_port_asks_for_keys_as_well(
    in_process: Callable[..., TestClient], key: str | None, status: int
) -> None:
    client = in_process(internal_port=9100, keys=KEYS)
    assert client.get(INTERNAL, headers=bearer(key) if key else {}).status_code == status


@pytest.mark.parametrize("path", ["/", "/console/console.js", "/v1/traces", "/v1/traces/tr_0", "/metrics"])
def test_what_operators_read_is_on_the_internal_port_alone(in_process: Callable[..., TestClient], path: str) -> None:
    client = in_process(internal_port=9100)
    assert client.get(path).json()["error"]["code"] == "not_found"
    there = client.get(f"http://testserver:9100{path}")
    assert there.status_code == 200 or there.json()["error"]["code"] == "trace_not_found"


def test_everything_else_is_on_both_ports(in_process: Callable[..., TestClient]) -> None:
    client = in_process(internal_port=9100)
    for path in ("/healthz", "/version", "/v1/models"):
        assert client.get(path).status_code == client.get(f"http://testserver:9100{path}").status_code == 200


def test_the_two_ports_must_differ() -> None:
    with pytest.raises(ValidationError, match="must be another one"):
        Settings(port=9100, internal_port=9100)


@pytest.mark.parametrize("workers", [1, 2])
def test_safer_serve_listens_on_both(workers: int, tmp_path: Path) -> None:
    internal = free_port()
    log = tmp_path / "log"
    command = [str(Path(sys.executable).with_name("safer")), "serve", "--engine", "scripted", "--port", "0"]
    variables = {"SAFER_INTERNAL_PORT": str(internal), "SAFER_WORKERS": str(workers)}
    with log.open("wb") as file:
        process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=file, stderr=file)
    try:
        with httpx.Client(trust_env=False, timeout=PATIENCE) as web:
            wait_for(lambda: log.read_text().count("Application startup complete") == workers)
            public = next(port for port in re.findall(r"127\.0\.0\.1:(\d+)", log.read_text()) if port != str(internal))
            for _ in range(4 * workers):  # connections of their own, so that each worker is likely to be asked
                alone = {"connection": "close"}
                spoofed = {**alone, "host": f"127.0.0.1:{internal}"}
                assert web.get(f"http://127.0.0.1:{internal}/metrics", headers=alone).status_code == 200
                assert web.get(f"http://127.0.0.1:{public}/metrics", headers=alone).status_code == 404
                assert web.get(f"http://127.0.0.1:{public}/metrics", headers=spoofed).status_code == 404
                assert web.get(f"http://127.0.0.1:{public}/version", headers=alone).status_code == 200
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def test_a_taken_internal_port_is_said_and_ends_the_server() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [str(Path(sys.executable).with_name("safer")), "serve", "--engine", "scripted", "--port", "0"]
        variables = {"SAFER_INTERNAL_PORT": str(taken.getsockname()[1])}
        done = subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=PATIENCE
        )
    assert done.returncode != 0
    assert "Address already in use" in done.stderr
    assert "Traceback" not in done.stderr
