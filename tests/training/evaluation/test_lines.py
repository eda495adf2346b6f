"""Files of lines that only grow, whatever happens to whoever writes them."""

from pathlib import Path

import pytest

from safer_training.errors import DataError
from safer_training.evaluation.lines import Lines, read_lines
from safer_training.evaluation.replies import Reply


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "replies.jsonl"


def uids(file: Path) -> list[str]:
    return [reply.uid for reply in read_lines(file, Reply)]


def test_what_was_added_is_found_again(file: Path) -> None:
    with Lines(file, Reply) as lines:
        lines.add(Reply(uid="a", answer="two\nlines \u2028 \x85"))
        assert uids(file) == ["a"], "it is on disk before the file is closed"
    with Lines(file, Reply) as lines:
        assert [reply.answer for reply in lines.found] == ["two\nlines \u2028 \x85"]
        lines.add(Reply(uid="b"))
    assert uids(file) == ["a", "b"]


@pytest.mark.parametrize(
    "torn",
    [b'{"uid":"b","answ', b'{"uid":"b"}', b"\0\0\0\0", b'{"uid":"\xe2', b" "],
    ids=["half", "no end", "zeros", "utf8", "blank"],
)
def test_a_torn_last_line_was_never_said(file: Path, torn: bytes) -> None:
    with Lines(file, Reply) as lines:
        lines.add(Reply(uid="a"))
    file.write_bytes(file.read_bytes() + torn)
    assert uids(file) == ["a"]
    with Lines(file, Reply) as lines:
        assert [reply.uid for reply in lines.found] == ["a"]
        lines.add(Reply(uid="c"))
    assert uids(file) == ["a", "c"]


@pytest.mark.parametrize("broken", ["{}", "prose", '{"uid":"b","surprise":1}', ""])
def test_a_broken_line_in_the_middle_is_named_and_nothing_is_lost(file: Path, broken: str) -> None:
    file.write_text(f'{{"uid":"a"}}\n{broken}\n{{"uid":"c"}}\n')
    before = file.read_bytes()
    with pytest.raises(DataError, match=r"replies\.jsonl:2: "):
        Lines(file, Reply)
    assert file.read_bytes() == before


def test_two_cannot_write_one_file(file: Path) -> None:
    with Lines(file, Reply), pytest.raises(DataError, match="another process is writing it"):
        Lines(file, Reply)
    with Lines(file, Reply):
        pass
