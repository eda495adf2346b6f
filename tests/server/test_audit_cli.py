"""`safer audit`: export, replay, prune, migrate, and what it says when it cannot."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pyarrow.parquet import read_table
from typer.testing import CliRunner

from audited import MESSAGES, ask, entries, fill, recording, records, spooled, store_of
from safer_protocol.plan import Depth
from safer_protocol.prompt import Turn
from safer_protocol.reply import Reply
from safer_server.audit.database import migrate
from safer_server.audit.entry import Entry
from safer_server.audit.schema import metadata
from safer_server.cli import app
from safer_server.engines.base import EngineRequest
from safer_server.engines.markers import by_markers
from safer_server.engines.scripted import ScriptedEngine

RUNNER = CliRunner()


def audit(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    env: dict[str, str | None] = {"SAFER_AUDIT_DIR": str(folder), "SAFER_ENGINE": "scripted", **environment}
    result = RUNNER.invoke(app, ["audit", *arguments], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_exports_hold_what_was_recorded(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    assert audit(tmp_path, "export", "--out", str(tmp_path / "log.jsonl")) == (0, "")
    assert (tmp_path / "log.jsonl").read_bytes() == b"".join(entry.line for entry in entries(tmp_path))
    assert audit(tmp_path, "export", "--format", "parquet", "--out", str(tmp_path / "log.parquet")) == (0, "")
    rows = read_table(tmp_path / "log.parquet").to_pylist()
    assert [json.loads(row["record"]) for row in rows] == records(tmp_path)
    assert rows[0]["tools"] == ["INTENT-RADAR", "KEYWORD-FLAGGING", "RISK-SCORER", "SAFETY-GATE"]
    times = sorted(record["time"] for record in records(tmp_path))
    assert (
        audit(tmp_path, "export", "--since", times[4], "--until", times[8], "--out", str(tmp_path / "part.jsonl"))[0]
        == 0
    )
    part = (tmp_path / "part.jsonl").read_bytes().splitlines()
    assert len(part) == sum(times[4] <= time < times[8] for time in times)


def replayed(folder: Path, number: int = 0, **environment: str) -> tuple[int, str]:
    return audit(folder, "replay", json.loads(entries(folder)[number].record)["trace_id"], **environment)


@pytest.mark.parametrize("number", range(5))
def test_a_replay_comes_out_the_same(number: int, tmp_path: Path) -> None:
    fill(tmp_path, audit_content="full")
    code, output = replayed(tmp_path, number)
    assert (code, output.startswith("the same: ")) == (0, True)


def test_a_replay_gets_all_that_was_asked(tmp_path: Path, data_url: Callable[..., str]) -> None:
    parts = [{"type": "text", "text": "steal it"}, {"type": "image_url", "image_url": {"url": data_url()}}]
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": parts},
    ]
    with recording(tmp_path, audit_content="full") as client:
        ask(client, messages=messages, seed=2**62, temperature=0.3, top_p=0.9, stop=["x"], safer={"depth": Depth.BRIEF})
        check = {"messages": [*messages, {"role": "assistant", "content": "no"}]}
        assert client.post("/v1/checks", json=check).status_code == 200
    assert [replayed(tmp_path, number)[0] for number in (0, 1)] == [0, 0]


def test_a_replay_shows_where_it_differs(tmp_path: Path) -> None:
    def lenient(request: EngineRequest) -> Reply:
        return by_markers(replace(request, turns=(Turn("user", ("hello",)),)))

    with recording(tmp_path, ScriptedEngine(lenient), audit_content="full") as client:
        ask(client, "steal it")
    code, output = replayed(tmp_path)
    assert code == 1
    assert next(line for line in output.splitlines() if line.startswith("│")).split()[1] == "plan.category"
    assert "decision" in output
    assert "refuse" in output


@pytest.mark.parametrize("content", ["none", "hashed", "redacted"])
def test_a_replay_needs_the_texts(content: str, tmp_path: Path) -> None:
    fill(tmp_path, audit_content=content)
    code, output = replayed(tmp_path)
    assert (code, f"SAFER_AUDIT_CONTENT={content}" in output) == (1, True)


def when(entry: Entry) -> tuple[str, int]:
    return json.loads(entry.record)["time"], json.loads(entry.receipt)["sequence"]


def test_pruning_keeps_the_log_provable(tmp_path: Path) -> None:
    for _ in range(3):
        fill(tmp_path)
    sizes = [len(entry.receipt) + len(entry.record) for entry in sorted(entries(tmp_path), key=when)]
    assert audit(tmp_path, "prune") == (0, "removed 0 records\n")
    assert audit(tmp_path, "prune", "--days", "1") == (0, "removed 0 records\n")
    assert audit(tmp_path, "prune", "--bytes", str(sum(sizes[-7:]))) == (0, "removed 8 records\n")
    assert "proven: 7 records" in audit(tmp_path, "verify")[1]
    audit(tmp_path, "export", "--out", str(tmp_path / "log.jsonl"))
    assert "proven: 7 records" in audit(tmp_path, "verify", str(tmp_path / "log.jsonl"))[1]
    with store_of(tmp_path).engine.begin() as connection:
        connection.exec_driver_sql("UPDATE records SET time = '2020' || substr(time, 5) WHERE sequence < 4")
    assert audit(tmp_path, "prune", "--days", "30")[1] == "removed 5 records\n"
    assert "proven: 2 records" in audit(tmp_path, "verify")[1]
    with store_of(tmp_path).engine.begin() as connection:
        connection.exec_driver_sql("UPDATE tombstones SET tombstone = replace(tombstone, ':3', ':4')")
    assert audit(tmp_path, "verify")[0] == 1


def test_a_server_prunes_by_itself(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    with recording(tmp_path, audit_bytes=5000):
        pass
    assert 1 <= len(records(tmp_path)) <= 3
    assert audit(tmp_path, "verify")[0] == 0


def test_the_tables_are_what_the_program_thinks(tmp_path: Path) -> None:
    assert audit(tmp_path, "migrate") == audit(tmp_path, "migrate") == (0, "")
    engine = store_of(tmp_path).engine
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["verify"], {"SAFER_AUDIT_DIR": "/nowhere"}, "/nowhere/receipt-keys.json: No such file"),
        (["verify", "/nowhere"], {}, "/nowhere: No such file"),
        (["export", "--out", "/nowhere/log"], {}, "No such file"),
        (["replay", "tr_0"], {}, "tr_0: there is no such record"),
        (["export", "--out", "x", "--url", "mysql://host/x"], {}, "SAFER_AUDIT_URL"),
        (["verify", "--url", "postgresql://127.0.0.1:1/none?connect_timeout=1"], {}, "the audit database: "),
        (["rotate-key"], {"SAFER_AUDIT_DIR": "/proc/nowhere"}, "/proc/nowhere: "),
        (["export"], {}, "--out"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    arguments: list[str], environment: dict[str, str], words: str, tmp_path: Path
) -> None:
    fill(tmp_path)
    code, output = audit(tmp_path, *arguments, **environment)
    assert code in (1, 2)
    assert words in output
    assert "Traceback" not in output


@pytest.mark.parametrize("kind", ["no key", "another curve", "a folder"])
def test_a_server_does_not_start_with_a_key_that_cannot_sign(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    match kind:
        case "no key":
            file.write_text("-----BEGIN PRIVATE KEY-----\n")
        case "another curve":
            pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            file.write_bytes(pem)
        case _:
            file.mkdir()
    env: dict[str, str | None] = {"SAFER_AUDIT_DIR": str(tmp_path / "audit"), "SAFER_RECEIPT_KEY_FILE": str(file)}
    result = RUNNER.invoke(app, ["serve", "--engine", "scripted"], env=env)
    assert result.exit_code in (1, 2)
    assert str(file) in result.output or "SAFER_RECEIPT_KEY_FILE" in result.output


def test_a_key_of_the_operators_signs(tmp_path: Path) -> None:
    fill(tmp_path / "one")
    key = tmp_path / "one" / "receipt-key.pem"
    fill(tmp_path / "two", receipt_key_file=key)
    assert not (tmp_path / "two" / "receipt-key.pem").exists()
    signed = {json.loads(entry.receipt)["key"] for folder in ("one", "two") for entry in entries(tmp_path / folder)}
    assert len(signed) == 1
    assert audit(tmp_path / "two", "verify")[0] == 0


def test_the_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    fill(tmp_path / "audit")
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o700
    assert spooled(tmp_path / "audit") == 0
    assert len(records(tmp_path / "audit")) == len(MESSAGES)
