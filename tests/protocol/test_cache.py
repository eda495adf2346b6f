"""Compiled blocks on disk are used when they are sound, and only then."""

from pathlib import Path

import numpy as np
import pytest

from safer_protocol.constrain import cache
from safer_protocol.constrain.index import compile_block
from safer_protocol.constrain.machine import Machine
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.toolkit import Toolkit, default_toolkit

SMALL = Toolkit(tools=tuple(default_toolkit().tool(name) for name in ("OCR-EXTRACT", "RISK-SCORER", "SAFETY-GATE")))


@pytest.fixture(scope="module")
def vocabulary(machine: Machine) -> Vocabulary:
    return machine.vocabulary


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The blocks that are compiled from now on."""
    seen: list[object] = []

    def spy(block: object, *rest: object) -> object:
        seen.append(block)
        return compile_block(block, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "compile_block", spy)
    return seen


def same(one: object, other: object) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def test_a_second_start_compiles_nothing(vocabulary: Vocabulary, compiled: list[object], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    first = cache.compile_blocks(SMALL, vocabulary, tmp_path, lambda done, total: told.append((done, total)))
    assert told == [(done, len(first)) for done in range(1, len(first) + 1)]
    assert len(compiled) == len(first)
    compiled.clear()
    second = cache.compile_blocks(SMALL, vocabulary, tmp_path)
    assert compiled == []
    assert all(same(first[block], second[block]) for block in first)


def test_a_larger_toolkit_compiles_only_what_is_new(
    vocabulary: Vocabulary, compiled: list[object], tmp_path: Path
) -> None:
    cache.compile_blocks(SMALL, vocabulary, tmp_path)
    compiled.clear()
    larger = SMALL.model_copy(update={"tools": (default_toolkit().tool("VISUAL-SCAN"), *SMALL.tools)})
    cache.compile_blocks(Toolkit.model_validate(larger.model_dump()), vocabulary, tmp_path)
    assert sorted(type(block).__name__ for block in compiled) == ["CallBlock", "ListBlock"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "foreign"])
def test_a_file_that_is_not_sound_is_compiled_anew(
    vocabulary: Vocabulary, compiled: list[object], tmp_path: Path, damage: str
) -> None:
    first = cache.compile_blocks(SMALL, vocabulary, tmp_path)
    compiled.clear()
    path = sorted(tmp_path.rglob("*.index"))[0]
    stored = path.read_bytes()
    damaged = {
        "flip": stored[:100] + bytes([stored[100] ^ 1]) + stored[101:],
        "truncate": stored[:-7],
        "empty": b"",
        "foreign": b"not an index" * 50,
    }
    path.write_bytes(damaged[damage])
    second = cache.compile_blocks(SMALL, vocabulary, tmp_path)
    assert len(compiled) == 1
    assert all(same(first[block], second[block]) for block in first)
    assert path.read_bytes() == stored


def test_another_vocabulary_has_its_own_files(vocabulary: Vocabulary, compiled: list[object], tmp_path: Path) -> None:
    cache.compile_blocks(SMALL, vocabulary, tmp_path)
    count = len(compiled)
    other = Vocabulary([*vocabulary.tokens, b"qqq"], vocabulary.eos)
    assert other.hash != vocabulary.hash
    cache.compile_blocks(SMALL, other, tmp_path)
    assert len(compiled) == 2 * count
