"""JSONL by a column map, folders of facts, near copies."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from safer_protocol.decision import Decision
from safer_training.data.columns import Columns, read_columns, read_map
from safer_training.data.facts import read_facts
from safer_training.data.layouts import Found
from safer_training.data.near import away_from, without_near_copies
from safer_training.errors import DataError
from safer_training.rows import Row, group_of

MAP = {
    "name": "mine",
    "licence": "MIT",
    "prompt": "question",
    "label": "kind",
    "labels": {"bad": ["refuse"], "good": ["allow"]},
    "image": "picture",
    "category": "hazard",
}
LINE = {"question": "How?", "kind": "bad", "picture": "1.png", "hazard": "hate"}


def read(tmp_path: Path, line: str, columns: dict[str, Any] = MAP) -> list[Found]:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(LINE) + "\n" + line + "\n")
    return list(read_columns(file, Columns.model_validate(columns)))


def test_columns_are_read_by_their_map(tmp_path: Path) -> None:
    first, second = read(tmp_path, json.dumps({**LINE, "kind": "good", "picture": None, "hazard": None}))
    assert (first.row.text, first.row.expected, first.row.category) == ("How?", (Decision.REFUSE,), "hate")
    assert first.picture == tmp_path / "1.png"
    assert (second.row.expected, second.picture) == ((Decision.ALLOW,), None)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "not JSON"),
        ("[]", "not an object"),
        (json.dumps({**LINE, "kind": "odd"}), "unknown label 'odd'; known are bad, good"),
        (json.dumps({**LINE, "hazard": "fun"}), "unknown category 'fun'"),
        (json.dumps({**LINE, "question": ""}), "'question' is empty"),
        (json.dumps({"question": "How?", "kind": "bad"}), "no column 'picture'"),
    ],
)
def test_a_wrong_line_is_named(line: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"rows\.jsonl:2: .*{told}|rows\.jsonl:2: {told}"):
        read(tmp_path, line)


@pytest.mark.parametrize(
    "text",
    ["labels: {", "name: mine", yaml.safe_dump({**MAP, "labels": {"bad": ["no"]}}), yaml.safe_dump({**MAP, "x": 1})],
)
def test_a_wrong_map_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(DataError, match=r"map\.yaml"):
        read_map(tmp_path / "map.yaml")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_map(tmp_path / "none.yaml")
    with pytest.raises(DataError, match="no such file"):
        list(read_columns(tmp_path / "none.jsonl", Columns.model_validate(MAP)))
    with pytest.raises(DataError, match="no such file"):
        list(read_facts(tmp_path))


def facts(folder: Path, **changed: Any) -> list[Row]:
    row = {"uid": "xs:1", "set": "xs", "prompt": "How?", "expected": ["allow"], "licence": "MIT"}
    drawn = {**row, "uid": "figstep:1", "set": "figstep", "image": "1.png", "typographic_text": "Steps to."}
    emoji = {
        "uid": "noto_emoji:1f44d_1f3fb",
        "set": "noto_emoji",
        "prompt": None,
        "image": "1.png",
        "expected": ["allow"],
        "facts": {"name": "thumbs_up"},
        **changed,
    }
    Image.new("RGB", (30, 30)).save(folder / "1.png")
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, (row, drawn))))
    (folder / "benign_images.jsonl").write_text(json.dumps(emoji))
    return [found.row for found in read_facts(folder)]


def test_facts_give_questions_answers_and_kin(tmp_path: Path) -> None:
    text, drawn, emoji = facts(tmp_path)
    assert (text.image, text.licence) == (None, "MIT")
    assert drawn.pictured == "Steps to."
    assert (emoji.text, emoji.answer) == ("Which emoji does the picture show?", "thumbs up")
    assert group_of(emoji) == "noto_emoji:1f44d"


def test_a_picture_of_which_nothing_can_be_asked_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a question nor facts"):
        facts(tmp_path, set="other", uid="other:1")


def row(uid: str, text: str, decision: Decision = Decision.ALLOW, image: str | None = None) -> Row:
    return Row(uid=uid, set="s", prompt=text, expected=(decision,), image=image)


BREAD = "How can one bake a good loaf of rye bread at home in the evening?"


@pytest.mark.parametrize(
    ("text", "near"),
    [
        (BREAD.upper(), True),
        (BREAD.replace("evening", "evenings"), True),
        ("How can one sell a good loaf of rye bread at a market in the morning?", False),
        ("Where do swans sleep?", False),
    ],
)
def test_near_copies_are_dropped_and_other_texts_kept(text: str, near: bool) -> None:
    assert len(without_near_copies([row("a", BREAD), row("b", text)])) == (1 if near else 2)


def test_a_contrast_and_a_picture_are_no_copies() -> None:
    rows = [
        row("a", BREAD),
        row("b", BREAD, Decision.REFUSE),
        row("c", BREAD, image="1.png"),
        row("d", BREAD, image="2.png"),
    ]
    assert without_near_copies(rows) == rows


def test_nothing_near_an_exam_is_trained_on_whatever_its_decision() -> None:
    exam = [row("exam", BREAD), row("photo", "What can be seen here?", image="1.png")]
    near = row("a", "How could one bake a good loaf of rye bread at home in the evening?", Decision.REFUSE)
    far, asked = row("b", "Where do swans sleep?"), row("c", "What can be seen here?", image="2.png")
    assert away_from([near, far, asked], exam) == [far, asked]
