"""Apps that record what they do, and what they recorded."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from safer_protocol.policy import Policy, default_policy
from safer_protocol.toolkit import default_toolkit
from safer_server.app import create_app
from safer_server.audit.database import open_database
from safer_server.audit.entry import Entry
from safer_server.audit.export import entry_of
from safer_server.audit.store import Store
from safer_server.engines.scripted import ScriptedEngine
from safer_server.settings import Settings

MESSAGES = ("hello", "steal it", "which medicine", "unclear", "a weapon")


@contextmanager
def recording(
    folder: Path, engine: ScriptedEngine | None = None, served: tuple[Policy, ...] = (), **settings: Any
) -> Iterator[TestClient]:
    """Run an app; what it recorded is in the database when it has ended."""
    policies = {policy.name: policy for policy in (default_policy(default_toolkit()), *served)}
    app = create_app(Settings(audit_dir=folder, **settings), engine or ScriptedEngine(), policies)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def ask(client: TestClient, content: object = "hello", **fields: Any) -> Any:
    """Ask for a completion; return the response."""
    body = {"model": "scripted", "messages": [{"role": "user", "content": content}], **fields}
    return client.post("/v1/chat/completions", json=body)


def fill(folder: Path, times: int = 1, **settings: Any) -> None:
    """Record one case of each kind, so many times."""
    with recording(folder, **settings) as client:
        for message in MESSAGES * times:
            assert ask(client, message).status_code == 200


def store_of(folder: Path) -> Store:
    """The database of a folder."""
    return Store(open_database(f"sqlite:///{folder / 'audit.db'}"))


def entries(folder: Path) -> list[Entry]:
    """What a server recorded, in the order of each chain."""
    store = store_of(folder)
    with store.snapshot() as log:
        found = [entry_of(row) for row in log.rows()]
    store.engine.dispose()
    return found


def records(folder: Path) -> list[dict[str, Any]]:
    """The records alone."""
    return [json.loads(entry.record) for entry in entries(folder)]


def spooled(folder: Path) -> int:
    """How many lines wait in the spool."""
    lines = 0
    for file in folder.glob("spool/*/*.jsonl"):
        with suppress(FileNotFoundError):  # moved into the database meanwhile
            lines += file.read_bytes().count(b"\n")
    return lines
