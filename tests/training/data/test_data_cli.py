"""The commands from a clone alone: import, build, check; and what a user is told when it cannot go on."""

import errno
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from safer_training.data.cli import Source, data
from safer_training.data.corruptions import Corruption
from safer_training.data.pool import read_pool

RUN = CliRunner()
SMALL = ["--sft", "20", "--dpo", "60", "--grpo", "20", "--held-out", "10"]


@pytest.fixture
def pool(own_pool: Path, tmp_path: Path) -> Path:
    shutil.copytree(own_pool / "imported", tmp_path / "data/imported")
    return tmp_path / "data"


def said(*args: str | Path) -> str:
    done = RUN.invoke(data, [str(arg) for arg in args], env={"COLUMNS": "400", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.output
    return done.output


def told(*args: str | Path) -> str:
    done = RUN.invoke(data, [str(arg) for arg in args], env={"COLUMNS": "400", "NO_COLOR": "1"})
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    return " ".join(done.output.split())


def test_a_data_set_is_made_from_nothing_but_the_package(pool: Path) -> None:
    assert "sft 20, dpo 60, grpo 20, held_out 10" in (out := said("build", pool, *SMALL))
    assert "replies made by templates: all of them" in out
    assert "110 rows are as its card says" in said("check", pool)


def test_a_jsonl_file_is_imported_by_its_map(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"q": "How?"}\n')
    (tmp_path / "map.yaml").write_text("name: mine\nlicence: MIT\nprompt: q\nlabels: {'*': [allow]}\n")
    said("import-jsonl", tmp_path / "rows.jsonl", tmp_path / "map.yaml", "--out", tmp_path / "out")
    assert [row.text for row in read_pool(tmp_path / "out")] == ["How?"]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["import", "vlguard"], "where is the folder of vlguard?"),
        (["import", "vlguard", "/nowhere"], "no such file: /nowhere/train.json"),
        (["import", "novelty"], "novelty"),
        (["build", "empty"], "nothing is imported in empty: begin with"),
        (["check", "empty"], "no such file: empty/dataset.json"),
        (["build", "empty", "--teacher-url", "http://localhost:1/v1"], "which model of the server teaches?"),
        (["build", "empty", "--judge-url", "http://localhost:1/v1"], "which model of the server judges?"),
    ],
)
def test_a_mistake_is_told(args: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert expected in told(*args)


def test_a_disk_without_room_is_told_before_anything_is_begun(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 5_000_000))
    assert "only 5 MB are free" in told("build", pool, *SMALL)
    assert not (pool / "sft.jsonl").exists()


def test_a_disk_that_fills_up_is_told_and_the_rest_is_kept(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes = Path.write_bytes

    def full(path: Path, content: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert "No space left on device; what is done is kept, run the same command again" in told("build", pool, *SMALL)
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    said("build", pool, *SMALL)
    assert not list(pool.rglob("*.unfinished"))


DOCS = (Path(__file__).parents[3] / "docs" / "data.md").read_text()


@pytest.mark.parametrize("name", [*Source, *Corruption])
def test_every_source_and_corruption_has_its_row_in_the_docs(name: str) -> None:
    assert f"| `{name}` |" in DOCS
