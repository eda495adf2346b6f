"""Whoever changes, forges, moves or removes anything in the log is found, by the first record that is broken."""

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from audited import MESSAGES, ask, entries, fill, recording
from safer_protocol.receipt import Receipt, canonical
from safer_server.audit.entry import Entry
from safer_server.audit.keyring import open_keyring
from safer_server.audit.schema import records as table
from safer_server.cli import app
from watching import WATCHING

RUNNER = CliRunner()
COLUMNS = [column.name for column in table.columns]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of two chains, with its export."""
    folder = tmp_path_factory.mktemp("original")
    fill(folder)
    fill(folder)
    exported = RUNNER.invoke(app, ["audit", "export", "--out", str(folder / "log.jsonl")], env=env(folder))
    assert exported.exit_code == 0, exported.output
    return folder


@pytest.fixture
def log(original: Path, tmp_path: Path) -> Path:
    """A copy to be tampered with."""
    return Path(shutil.copytree(original, tmp_path / "log"))


def env(folder: Path) -> dict[str, str | None]:
    return {"SAFER_AUDIT_DIR": str(folder), "SAFER_ENGINE": "scripted"}


def prove(folder: Path, *arguments: str) -> tuple[int, str]:
    result = RUNNER.invoke(app, ["audit", "verify", *arguments], env=env(folder))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def change(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "audit.db")) as database, database:
        for statement in statements:
            database.execute(statement)


def test_an_honest_log_is_proven(log: Path) -> None:
    code, output = prove(log)
    assert (code, output.splitlines()[-1]) == (0, "proven: 10 records")
    assert output.count("ends with number 4, ") == 2
    assert prove(log, str(log / "log.jsonl")) == (0, output)


@pytest.mark.parametrize("seed", range(12))
def test_one_flipped_byte_in_a_row_is_found(seed: int, log: Path) -> None:
    chance = random.Random(seed)
    with closing(sqlite3.connect(log / "audit.db", isolation_level=None)) as database:
        rows = database.execute("SELECT rowid, * FROM records ORDER BY server, sequence").fetchall()
        for _ in range(12):
            row, column = chance.choice(rows), chance.choice(COLUMNS)
            before = row[1 + COLUMNS.index(column)]
            if before is None:
                after: object = "alice"
            elif isinstance(before, int):
                after = before ^ (1 << chance.randrange(4))
            else:
                flipped = bytearray(before.encode())
                flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(7)
                after = flipped.decode()
            try:
                database.execute(f"UPDATE records SET {column} = ? WHERE rowid = ?", (after, row[0]))
            except sqlite3.IntegrityError:
                continue  # the database itself refuses a place in a chain that is taken
            code, output = prove(log)
            assert code == 1, (column, before, after)
            assert "broken after" in output
            database.execute(f"UPDATE records SET {column} = ? WHERE rowid = ?", (before, row[0]))
    assert prove(log)[0] == 0


@pytest.mark.parametrize("seed", range(4))
def test_one_flipped_byte_in_an_export_is_found(seed: int, log: Path) -> None:
    chance, file = random.Random(seed), log / "log.jsonl"
    content = file.read_bytes()
    for _ in range(40):
        place, bit = chance.randrange(len(content)), 1 << chance.randrange(8)
        broken = content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
        file.write_bytes(broken)
        code, output = prove(log, str(file))
        assert code == 1, (place, bit)
        earlier = content[:place].count(b"\n")
        assert f"broken after {earlier} records: " in output


def moved(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


def swapped(lines: list[bytes]) -> list[bytes]:
    """Give two receipts each other's record."""
    one, two = (Entry.of_line(line[:-1]) for line in lines[1:3])
    return [lines[0], Entry(one.receipt, two.record).line, Entry(two.receipt, one.record).line, *lines[3:]]


def renumbered(lines: list[bytes]) -> list[bytes]:
    """Remove a record and close the gap in the numbers, without the key."""
    kept = [json.loads(line) for line in lines[:1] + lines[2:5]]
    for number, each in enumerate(kept):
        each["receipt"]["sequence"] = number
    return [*(canonical(each) + b"\n" for each in kept), *lines[5:]]


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (moved, "broken after 1 records: record tr_"),
        (swapped, "is not what was signed"),
        (renumbered, "not signed by a known key"),
        (lambda lines: lines[1:], "what came before it is missing"),
        (lambda lines: lines[:2] + lines[3:], "what came before it is missing"),
        (lambda lines: [*lines, lines[-1]], "its place is another"),
        (lambda lines: lines[:1] * 2 + lines[1:], "its place is another"),
        (lambda lines: [b" " + lines[0], *lines[1:]], "not as it was written"),
        (lambda lines: [lines[0].replace(b":", b": ", 1), *lines[1:]], "not as it was written"),
        (
            lambda lines: [lines[0].replace(b'{"receipt"', b'{"receipt":1,"receipt"'), *lines[1:]],
            "not as it was written",
        ),
        (lambda lines: [*lines, b"\n"], "not as it was written"),
        (lambda lines: [*lines, b'{"tombstone":{}}\n'], "a tombstone is not as it was written"),
        (lambda lines: [*lines, b"\xff\xfe\n"], "not as it was written"),
    ],
)
def test_exports_that_were_tampered_with_are_found(
    tamper: Callable[[list[bytes]], list[bytes]], words: str, log: Path
) -> None:
    file = log / "log.jsonl"
    file.write_bytes(b"".join(tamper(file.read_bytes().splitlines(keepends=True))))
    code, output = prove(log, str(file))
    assert code == 1
    assert words in output


def test_a_part_of_a_log_may_begin_anywhere_but_has_no_gap(log: Path) -> None:
    file = log / "log.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[2:5] + lines[7:]))
    assert prove(log, str(file))[0] == 1
    assert "proven: 6 records" in prove(log, str(file), "--partial")[1]
    file.write_bytes(b"".join(lines[2:3] + lines[4:]))
    assert prove(log, str(file), "--partial")[0] == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM records WHERE sequence = 0",
        "DELETE FROM records WHERE sequence = 2",
        "DELETE FROM records WHERE sequence = 4",
        "DELETE FROM records WHERE server = (SELECT max(server) FROM records)",
        "DELETE FROM records",
        "UPDATE records SET caller = 'mallory'",
        "UPDATE records SET outcome = 'answered', record = replace(record, 'refused', 'answered')",
    ],
)
def test_rows_that_were_removed_or_changed_are_missed(statement: str, log: Path) -> None:
    change(log, statement)
    assert prove(log)[0] == 1


def test_swapped_rows_are_found(log: Path) -> None:
    change(
        log,
        "UPDATE records SET sequence = 100 WHERE sequence = 1",
        "UPDATE records SET sequence = 1 WHERE sequence = 2",
        "UPDATE records SET sequence = 2 WHERE sequence = 100",
    )
    assert prove(log)[0] == 1


def forged(entry: Entry, folder: Path, **changes: Any) -> Entry:
    """Sign a changed record with the key of a folder."""
    signer, _ = open_keyring(folder, None)
    record = canonical({**json.loads(entry.record), **changes})
    receipt = Receipt.model_validate_json(entry.receipt)
    shared = {name: value for name, value in changes.items() if name == "decision"}
    receipt = receipt.model_copy(update={"record": sha256(record).hexdigest(), "key": signer.kid, **shared})
    return Entry(signer.sign(receipt).text, record)


@pytest.mark.parametrize("keeps_name", [False, True])
def test_receipts_by_another_key_are_found(keeps_name: bool, log: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    lines = [forged(entry, tmp_path / "other").line for entry in entries(log)]
    if keeps_name:
        mine, other = (open_keyring(folder, None)[0].kid.encode() for folder in (log, tmp_path / "other"))
        lines = [line.replace(other, mine) for line in lines]
    (log / "log.jsonl").write_bytes(b"".join(lines))
    code, output = prove(log, str(log / "log.jsonl"))
    assert (code, "not signed by a known key" in output) == (1, True)
    if not keeps_name:
        keys = str(tmp_path / "other" / "receipt-keys.json")
        assert "its place is another" in prove(log, str(log / "log.jsonl"), "--keys", keys)[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decision": "allow"}, "does not lead to its decision"),
        ({"plan": None, "tools": []}, "do not say the same"),
        ({"trace": []}, "does not lead to its decision"),
        ({"answer_sha256": "0" * 64}, "do not say the same"),
        ({"more": 1}, "a form that this version does not know"),
    ],
)
def test_even_whoever_has_the_key_cannot_record_nonsense(changes: dict[str, Any], words: str, log: Path) -> None:
    refused = next(entry for entry in entries(log) if b'"decision":"refuse"' in entry.record)
    (log / "log.jsonl").write_bytes(forged(refused, log, **changes).line)
    code, output = prove(log, str(log / "log.jsonl"), "--partial")
    assert (code, words in output) == (1, True), output


def test_keys_that_cannot_be_used_are_named(log: Path, tmp_path: Path) -> None:
    for content in (None, "{", '{"keys": [{"x": "short", "kid": "k"}]}'):
        file = tmp_path / "keys.json"
        if content is not None:
            file.write_text(content)
        code, output = prove(log, "--keys", str(file))
        assert (code, output.startswith(f"{file}: ")) == (1, True)


def test_receipts_stay_provable_when_the_key_is_rotated(tmp_path: Path) -> None:
    fill(tmp_path)
    result = RUNNER.invoke(app, ["audit", "rotate-key"], env=env(tmp_path))
    assert result.exit_code == 0
    with recording(tmp_path) as client:
        receipt = ask(client).json()["safer"]["receipt"]
        keys = client.get("/.well-known/safer-receipt-keys.json").json()["keys"]
    assert result.output.strip().endswith(receipt["key"])
    assert keys[0]["kid"] == receipt["key"]
    assert len(keys) == 2
    assert "proven: 6 records" in prove(tmp_path)[1]
    assert (tmp_path / "receipt-key.pem").stat().st_mode & 0o777 == 0o600


def test_traces_under_a_policy_that_is_not_at_hand_are_counted(tmp_path: Path) -> None:
    with recording(tmp_path, served=(WATCHING,), audit_content="hashed") as client:
        for message in MESSAGES:
            ask(client, message, safer={"policy": "watching"})
    assert prove(tmp_path)[1].endswith("proven: 5 records, 5 traces not kept or under a policy not at hand\n")
