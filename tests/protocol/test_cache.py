"""Compiled blocks on disk are used when they are sound, and only then; a cache that fails costs time and nothing else."""

import errno
import hashlib
import io
import logging
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from safer_protocol.constrain import cache
from safer_protocol.constrain.index import BlockIndex, compile_block
from safer_protocol.constrain.machine import Machine
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.grammar import Block
from safer_protocol.toolkit import Toolkit, default_toolkit
from waiting import PATIENCE

SMALL = Toolkit(tools=tuple(default_toolkit().tool(name) for name in ("OCR-EXTRACT", "RISK-SCORER", "SAFETY-GATE")))


@pytest.fixture(scope="module")
def vocabulary(machine: Machine) -> Vocabulary:
    return machine.vocabulary


@pytest.fixture(scope="module")
def compiler() -> Callable[..., BlockIndex]:
    """Compiles a block once in all these tests."""
    done: dict[tuple[Block, str, str], BlockIndex] = {}

    def compile_once(block: Block, toolkit: Toolkit, vocabulary: Vocabulary) -> BlockIndex:
        key = (block, toolkit.hash, vocabulary.hash)
        if key not in done:
            done[key] = compile_block(block, toolkit, vocabulary)
        return done[key]

    return compile_once


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, compiler: Callable[..., BlockIndex]) -> list[Block]:
    """The blocks that are compiled from now on."""
    seen: list[Block] = []

    def spy(block: Block, *rest: object) -> BlockIndex:
        seen.append(block)
        return compiler(block, *rest)

    monkeypatch.setattr(cache, "compile_block", spy)
    return seen


def same(one: BlockIndex, other: BlockIndex) -> bool:
    names = [field.name for field in fields(BlockIndex)]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_a_second_start_compiles_nothing(vocabulary: Vocabulary, compiled: list[Block], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    first = cache.compile_blocks(SMALL, vocabulary, tmp_path, lambda done, total: told.append((done, total)))
    assert told == [(done, len(first)) for done in range(len(first) + 1)]
    assert len(compiled) == len(first)
    compiled.clear()
    told.clear()
    second = cache.compile_blocks(SMALL, vocabulary, tmp_path, lambda done, total: told.append((done, total)))
    assert compiled == []
    assert told == []
    assert all(same(first[block], second[block]) for block in first)


def test_a_larger_toolkit_compiles_only_what_is_new(
    vocabulary: Vocabulary, compiled: list[Block], tmp_path: Path
) -> None:
    cache.compile_blocks(SMALL, vocabulary, tmp_path)
    compiled.clear()
    larger = SMALL.model_copy(update={"tools": (default_toolkit().tool("VISUAL-SCAN"), *SMALL.tools)})
    cache.compile_blocks(Toolkit.model_validate(larger.model_dump()), vocabulary, tmp_path)
    assert sorted(type(block).__name__ for block in compiled) == ["CallBlock", "ListBlock"]


def test_toolkits_share_blocks_in_memory(vocabulary: Vocabulary, compiled: list[Block], tmp_path: Path) -> None:
    kept = cache.BlockCache(vocabulary, tmp_path)
    first = kept.obtain(SMALL)
    alone = kept.held
    assert (alone.blocks, len(alone.compiled), len(alone.loaded)) == (len(first), len(first), 0)
    larger = Toolkit(tools=(default_toolkit().tool("VISUAL-SCAN"), *SMALL.tools))
    second = kept.obtain(larger)
    assert all(second[block] is first[block] for block in first)
    both = kept.held
    assert (both.blocks, len(both.compiled)) == (len(second), len(second))
    assert both.nbytes > alone.nbytes > sum(index.bits.nbytes for index in first.values())
    again = cache.BlockCache(vocabulary, tmp_path)
    again.obtain(larger)
    assert len(again.held.loaded) == len(second)
    assert again.held.compiled == ()
    assert f"{len(second)} loaded and 0 compiled" in str(again.held)


def npz(*names: str) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **dict.fromkeys(names, np.zeros(1)))
    return file.getvalue()


def forged(contents: bytes) -> Callable[[Path, Vocabulary], bytes]:
    """A file that says of itself that it is sound."""

    def write(path: Path, vocabulary: Vocabulary) -> bytes:
        return hashlib.sha256(f"{vocabulary.hash}{path.stem}".encode() + contents).digest() + contents

    return write


def changed(path: Path) -> bytes:
    stored = path.read_bytes()
    return stored[:100] + bytes([stored[100] ^ 1]) + stored[101:]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path, _: changed(path), id="a flipped bit"),
        pytest.param(lambda path, _: path.read_bytes()[:-7], id="cut at its end"),
        pytest.param(lambda path, _: path.read_bytes()[:20], id="cut within its digest"),
        pytest.param(lambda path, _: path.read_bytes()[:32], id="a digest and nothing else"),
        pytest.param(lambda path, _: b"", id="empty"),
        pytest.param(lambda path, _: b"not an index" * 50, id="another kind of file"),
        pytest.param(lambda path, _: max(path.parent.glob("*.index")).read_bytes(), id="the file of another block"),
        pytest.param(forged(b""), id="digest of nothing"),
        pytest.param(forged(b"PK\x03\x04" + bytes(100)), id="digest of a broken archive"),
        pytest.param(forged(b"\x80\x04N."), id="digest of a pickle"),
        pytest.param(forged(npz()), id="digest of no arrays"),
        pytest.param(forged(npz("bits", "row_of")), id="digest of too few arrays"),
    ],
)
def test_a_file_that_is_not_sound_is_compiled_anew(
    vocabulary: Vocabulary, compiled: list[Block], tmp_path: Path, damage: Callable[[Path, Vocabulary], bytes]
) -> None:
    first = cache.compile_blocks(SMALL, vocabulary, tmp_path)
    compiled.clear()
    path = min(tmp_path.rglob("*.index"))
    stored = path.read_bytes()
    path.write_bytes(damage(path, vocabulary))
    second = cache.compile_blocks(SMALL, vocabulary, tmp_path)
    assert len(compiled) == 1
    assert all(same(first[block], second[block]) for block in first)
    assert path.read_bytes() == stored


def test_a_file_of_another_vocabulary_is_compiled_anew(
    vocabulary: Vocabulary, compiled: list[Block], tmp_path: Path
) -> None:
    other = replace(vocabulary, tokens=[*vocabulary.tokens, b"qqq"])
    cache.compile_blocks(SMALL, other, tmp_path)
    (folder,) = tmp_path.iterdir()
    folder.rename(tmp_path / vocabulary.hash[:16])
    compiled.clear()
    blocks = cache.compile_blocks(SMALL, vocabulary, tmp_path)
    assert len(compiled) == len(blocks)


@pytest.mark.parametrize(
    ("owner", "call", "error"),
    [
        (Path, "mkdir", errno.EROFS),
        (Path, "mkdir", errno.EACCES),
        (tempfile, "TemporaryDirectory", errno.EROFS),
        (Path, "write_bytes", errno.ENOSPC),
        (Path, "replace", errno.EACCES),
    ],
)
def test_a_folder_that_takes_no_files_costs_time_only(
    vocabulary: Vocabulary,
    compiled: list[Block],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: object,
    call: str,
    error: int,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(error, "no")

    monkeypatch.setattr(owner, call, fail)
    for _ in range(2):
        caplog.clear()
        compiled.clear()
        blocks = cache.compile_blocks(SMALL, vocabulary, tmp_path)
        assert len(blocks) == len(compiled)
        (said,) = caplog.messages
        assert "cannot be kept" in said
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("error", [errno.EACCES, errno.EISDIR, errno.EIO])
def test_a_file_that_cannot_be_read_is_compiled_anew(
    vocabulary: Vocabulary, compiled: list[Block], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    cache.compile_blocks(SMALL, vocabulary, tmp_path)
    compiled.clear()
    unreadable, read = min(tmp_path.rglob("*.index")), Path.read_bytes

    def reading(path: Path) -> bytes:
        if path == unreadable:
            raise OSError(error, "no")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", reading)
    cache.compile_blocks(SMALL, vocabulary, tmp_path)
    assert len(compiled) == 1


def test_a_file_or_folder_in_the_way_costs_time_only(
    vocabulary: Vocabulary, compiled: list[Block], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    blocks = cache.compile_blocks(SMALL, vocabulary, blocked)
    assert len(blocks) == len(compiled)
    cache.compile_blocks(SMALL, vocabulary, tmp_path)
    compiled.clear()
    path = min(tmp_path.rglob("*.index"))
    path.unlink()
    path.mkdir()
    assert len(cache.compile_blocks(SMALL, vocabulary, tmp_path)) == len(blocks)
    assert len(compiled) == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


def test_several_starts_at_once_leave_whole_files(
    vocabulary: Vocabulary, compiled: list[Block], tmp_path: Path
) -> None:
    with ThreadPoolExecutor(4) as starts:
        found = list(starts.map(lambda _: cache.compile_blocks(SMALL, vocabulary, tmp_path), range(4)))
    assert all(same(found[0][block], other[block]) for other in found for block in other)
    compiled.clear()
    blocks = cache.compile_blocks(SMALL, vocabulary, tmp_path)
    assert compiled == []
    (folder,) = tmp_path.iterdir()
    assert len(list(folder.iterdir())) == len(blocks)


def test_an_interrupted_start_does_not_compile_the_rest(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[object] = []
    interrupted = threading.Event()

    def compile_one(block: object, *rest: object) -> object:
        begun.append(block)
        if len(begun) > 1:
            interrupted.wait(PATIENCE)
        return compile_block(block, *rest)  # type: ignore[arg-type]

    def interrupt(done: int, _: int) -> None:
        if done:
            interrupted.set()
            raise KeyboardInterrupt

    monkeypatch.setattr(cache, "compile_block", compile_one)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    with pytest.raises(KeyboardInterrupt):
        cache.compile_blocks(SMALL, vocabulary, progress=interrupt)
    assert len(begun) <= 4


def test_another_vocabulary_has_its_own_files(vocabulary: Vocabulary, compiled: list[Block], tmp_path: Path) -> None:
    cache.compile_blocks(SMALL, vocabulary, tmp_path)
    count = len(compiled)
    other = replace(vocabulary, tokens=[*vocabulary.tokens, b"qqq"])
    assert other.hash != vocabulary.hash
    cache.compile_blocks(SMALL, other, tmp_path)
    assert len(compiled) == 2 * count
