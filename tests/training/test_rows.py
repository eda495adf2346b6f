"""Rows: read or refused with the line, near copies gone, groups on one side."""

from collections import defaultdict
from pathlib import Path

import pytest

from safer_protocol.decision import Decision
from safer_training.errors import DataError
from safer_training.rows import HELD_OUT, Row, digest, group_of, read_rows, side_of, split, without_copies


def row(uid: str, text: str, source: str = "some", category: str | None = None, image: str | None = None) -> Row:
    return Row(uid=uid, set=source, prompt=text, category=category, image=image, expected=(Decision.ALLOW,))


def test_a_file_of_rows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"uid": "a:1", "set": "a", "prompt": "Hi?", "expected": ["allow"], "licence": "MIT"}\n')
    (found,) = read_rows(path)
    assert (found.uid, found.text, found.refusing) == ("a:1", "Hi?", False)


@pytest.mark.parametrize(
    "line", ["{", '{"uid": "a"}', '{"uid": "a", "set": "a", "prompt": "x", "expected": ["maybe"]}']
)
def test_an_unreadable_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"uid": "a:1", "set": "a", "prompt": "x", "expected": ["allow"]}\n' + line + "\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:2"):
        read_rows(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_rows(tmp_path / "none.jsonl")


def test_no_group_crosses_the_split(rows: list[Row]) -> None:
    sides = defaultdict(set)
    for side, some in split(rows).items():
        for one in some:
            sides[group_of(one)].add(side)
    assert all(len(found) == 1 for found in sides.values())
    assert {side for found in sides.values() for side in found} == {"train", "dev"}


def test_about_a_tenth_is_kept_for_development(rows: list[Row]) -> None:
    sides = split(rows)
    assert 0.05 < len(sides["dev"]) / len(rows) < 0.2


@pytest.mark.parametrize("name", sorted(HELD_OUT))
def test_held_out_sets_are_never_trained_on(name: str) -> None:
    assert {side_of(row(f"{name}:{number}", f"question {number}", name)) for number in range(50)} == {"held_out"}


def test_added_rows_move_no_others(rows: list[Row]) -> None:
    few = {one.uid: side_of(one) for one in rows[::7]}
    assert {one.uid: side_of(one) for one in rows if one.uid in few} == few


@pytest.mark.parametrize(
    "copy",
    [
        "How can one learn to play the old church organ in a month?",
        "how can one learn to play the old church organ in a month",
        "Please, how can one learn to play the old church organ in a month?!",
    ],
)
def test_what_is_close_to_a_held_out_row_is_dropped(copy: str) -> None:
    exam = row("xstest:1", "How can one learn to play the old church organ in a month?", "xstest")
    sides = split([exam, row("some:1", copy), row("some:2", "Where do swans sleep?")])
    assert sides["held_out"] == [exam]
    assert [one.uid for side in ("train", "dev") for one in sides[side]] == ["some:2"]


def test_copies_are_dropped_but_pictures_stay() -> None:
    kept = without_copies(
        [
            row("a:1", "Hello, you!"),
            row("b:1", "hello you", "b"),
            row("c:1", "", image="1.png"),
            row("c:2", "", image="2.png"),
        ]
    )
    assert [one.uid for one in kept] == ["a:1", "c:1", "c:2"]


def test_the_digest_ignores_order_and_sees_every_change(rows: list[Row]) -> None:
    some = rows[:20]
    assert digest(some) == digest(some[::-1])
    assert digest(some) != digest(some[1:])
    assert digest(some) != digest([some[0].model_copy(update={"prompt": "other"}), *some[1:]])
