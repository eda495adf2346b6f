"""Health, readiness and version."""

import asyncio
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from safer_protocol.toolkit import default_toolkit
from safer_server.engines.scripted import ScriptedEngine, Take
from safer_server.guard import Guard
from safer_server.readiness import Readiness
from waiting import wait_for


def test_alive_and_version(in_process: Callable[..., TestClient]) -> None:
    client = in_process()
    assert client.get("/healthz").json() == {"status": "ok"}
    told = client.get("/version").json()
    assert (told["protocol_hash"], told["model"], told["engine"]) == (default_toolkit().hash, "scripted", "scripted")


def test_ready_after_the_canary_and_while_the_engine_is_up(in_process: Callable[..., TestClient]) -> None:
    engine = ScriptedEngine()
    client = in_process(engine)
    wait_for(lambda: engine.requests and client.get("/readyz").status_code == 200)
    engine.up = False
    response = client.get("/readyz")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_ready")
    assert client.get("/healthz").status_code == 200


def test_not_ready_where_the_canary_fails(in_process: Callable[..., TestClient]) -> None:
    client = in_process(ScriptedEngine(lambda _: "free text, unconstrained\n"))
    assert client.get("/readyz").status_code == 503


@pytest.mark.parametrize(("text", "passes"), [("", False), ("free text\n", False), (None, True)])
def test_the_canary(text: str | None, passes: bool, written: Callable[[str], str]) -> None:
    async def run() -> bool:
        engine = ScriptedEngine(lambda _: Take(written("steal") if text is None else text))
        return await Readiness(Guard(engine, 10)).try_canary()

    assert asyncio.run(run()) is passes
