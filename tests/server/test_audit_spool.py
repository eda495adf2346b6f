"""The spool: whole lines or nothing, one owner for each folder, and nothing lost where a process dies."""

import errno
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from audited import ask, entries, fill, recording, spooled
from safer_server.audit.spool import SEGMENT_RECORDS, Spool, adopt

LINE = b'{"receipt":{},"record":{}}\n'


def left_behind(root: Path, server: str = "one", lines: int = 3) -> Path:
    """Write lines in a process that dies without a word."""
    script = (
        "import os, sys; from pathlib import Path; from safer_server.audit.spool import Spool\n"
        f"spool = Spool(Path({str(root)!r}), {server!r}, fsync=False)\n"
        f"[spool.append({LINE!r}) for _ in range({lines})]\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    return root / server


def test_what_is_written_survives_the_death_of_the_process(tmp_path: Path) -> None:
    left_behind(tmp_path)
    (folder,) = adopt(tmp_path)
    assert [(segment.records, segment.nbytes) for segment in folder.segments] == [(3, 3 * len(LINE))]
    folder.close()


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    for number in range(20):
        left_behind(tmp_path, str(number), lines=1) if number < 2 else Spool(tmp_path, str(number), fsync=False).append(
            LINE
        )
    living = Spool(tmp_path, "living", fsync=False)
    with ThreadPoolExecutor(8) as pool:
        adopted = [folder for found in pool.map(lambda _: adopt(tmp_path), range(8)) for folder in found]
    names = [folder.path.name for folder in adopted]
    assert sorted(names) == sorted(set(names))
    assert {"0", "1"} <= set(names)
    assert "living" not in names
    living.close()
    for folder in adopted:
        folder.close()


def test_two_processes_that_adopt_at_once_share_the_folders(tmp_path: Path) -> None:
    for number in range(6):
        left_behind(tmp_path, str(number))
    script = (
        "import sys; from pathlib import Path; from safer_server.audit.spool import adopt\n"
        "sys.stdin.readline()\n"
        f"found = adopt(Path({str(tmp_path)!r})); print(*(folder.path.name for folder in found), flush=True)\n"
        "sys.stdin.readline()"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    found: list[str] = []
    for process in both:
        assert process.stdout is not None
        found += process.stdout.readline().split()
    for process in both:
        process.communicate("\n")
    assert sorted(found) == [str(number) for number in range(6)]


def test_an_empty_folder_goes_and_a_full_one_stays(tmp_path: Path) -> None:
    empty, full = Spool(tmp_path, "empty", fsync=True), Spool(tmp_path, "full", fsync=True)
    full.append(LINE)
    empty.close()
    full.close()
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_segment_is_sealed_when_it_is_full(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "one", fsync=False)
    for _ in range(2 * SEGMENT_RECORDS + 1):
        spool.append(LINE)
    assert [segment.records for segment in spool.folder.segments] == [SEGMENT_RECORDS] * 2
    assert spool.load() == (2 * SEGMENT_RECORDS + 1, (2 * SEGMENT_RECORDS + 1) * len(LINE))
    spool.close()


@pytest.mark.parametrize("fault", ["no room", "half a line", "no sync"])
def test_a_line_that_cannot_be_written_leaves_nothing(fault: str, tmp_path: Path) -> None:
    spool = Spool(tmp_path, "one", fsync=True)
    spool.append(LINE)
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[: len(data) // 2])

    full = OSError(errno.ENOSPC, "no room")
    broken: dict[str, Any] = {
        "no room": patch("os.write", side_effect=full),
        "half a line": patch("os.write", half),
        "no sync": patch("os.fsync", side_effect=full),
    }
    with broken[fault], pytest.raises(OSError, match=r"room|space"):
        spool.append(LINE)
    spool.append(LINE)
    spool.close()
    (folder,) = adopt(tmp_path)
    assert [segment.file.read_bytes() for segment in folder.segments] == [2 * LINE]
    folder.close()


@pytest.mark.parametrize(
    ("damage", "kept", "lost"),
    [
        (lambda content: content[:-20], 4, 1),
        (lambda content: content[:-1], 4, 1),
        (lambda content: content.replace(b'"request_id"', b'"request_ie"', 1), 4, 1),
        (lambda content: content.replace(b"\n", b"", 1), 3, 1),
        (lambda content: b"\x00" * 50 + b"\n" + content, 5, 1),
        (lambda content: content + b"{}\n[]\n1.5\n" + b"[" * 100_000 + b"\n", 5, 4),
        (lambda content: content + content, 5, 0),
        (lambda content: b"", 0, 0),
    ],
)
def test_damaged_lines_are_counted_and_kept(damage: Any, kept: int, lost: int, tmp_path: Path) -> None:
    fill(tmp_path)
    lines = b"".join(entry.line for entry in entries(tmp_path))
    (tmp_path / "audit.db").unlink()
    segment = left_behind(tmp_path / "spool") / "0000000000.jsonl"
    segment.write_bytes(damage(lines))
    with recording(tmp_path) as client:
        ask(client)
    assert len(entries(tmp_path)) == kept + 1
    unreadable = list(tmp_path.glob("unreadable/*"))
    assert len(unreadable) == (lost > 0)
    assert [file.read_bytes() for file in unreadable] == [damage(lines)][: len(unreadable)]
    with recording(tmp_path) as client:
        assert "safer_audit_dropped_total 0.0" in client.get("/metrics").text


def test_a_crash_between_commit_and_delete_changes_nothing(tmp_path: Path) -> None:
    unlink = Path.unlink

    def dying(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".jsonl":
            raise OSError(errno.EIO, "died here")
        unlink(path, missing_ok)

    with patch("pathlib.Path.unlink", dying), recording(tmp_path) as client:
        ask(client)
    assert (len(entries(tmp_path)), spooled(tmp_path)) == (1, 1)
    with recording(tmp_path):
        pass
    assert (len(entries(tmp_path)), spooled(tmp_path)) == (1, 0)
    assert list(tmp_path.glob("spool/*")) == []


def test_a_database_of_another_version_of_the_tables_takes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "audit.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('from the future')")
    database.close()
    with recording(tmp_path) as client:
        assert ask(client).status_code == 200
    assert spooled(tmp_path) == 1
