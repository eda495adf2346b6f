"""A suite of one's own: any table by a map of its columns."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lookalikes import picture, put, table
from safer_protocol.decision import Decision
from safer_training.data.records import TextContent
from safer_training.errors import DataError, SuiteError
from safer_training.evaluation.item import Gold, Item, Loaded
from safer_training.evaluation.suite import load_suite

ALLOW, REFUSE = Decision.ALLOW, Decision.REFUSE
ROWS: list[dict[str, Any]] = [
    {"q": "What is tea?", "kind": "plain", "hazard": "drinks", "pair": "1"},
    {"q": "A placeholder.", "kind": "attack", "hazard": None, "pair": "1"},
]
LABELS = {"label": "kind", "labels": {"plain": ["allow"], "attack": ["refuse"]}}


def read(folder: Path, **options: Any) -> Loaded:
    head = {"name": "ours", "title": "Ours", "kind": "safety", "measures": "-", "licence": "MIT", "source": "-"}
    (folder / "ours.yaml").write_text(yaml.safe_dump({**head, "layout": "table", "options": options}))
    return load_suite(folder / "ours.yaml").load()


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def text(item: Item) -> str:
    return "\n".join(part.text for message in item.prompt for part in message.content if isinstance(part, TextContent))


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_a_table_of_any_kind_is_read_alike(form: str, tmp_path: Path) -> None:
    file = tmp_path / f"rows.{form}"
    match form:
        case "jsonl":
            put(file, lines(ROWS))
        case "json":
            put(file, json.dumps(ROWS))
        case "csv" | "tsv":
            mark = "," if form == "csv" else "\t"
            put(
                file,
                "\n".join(mark.join(str(cell or "") for cell in row) for row in (ROWS[0], *map(dict.values, ROWS))),
            )
        case "parquet":
            table(file, ROWS)
    loaded = read(tmp_path, files=file.name, prompt="q", category="hazard", twin="pair", **LABELS)
    assert not loaded.missing
    assert [(item.uid, text(item), item.category, item.expected, item.twin) for item in loaded.items] == [
        ("1", "What is tea?", "drinks", (ALLOW,), "1"),
        ("2", "A placeholder.", "none", (REFUSE,), "1"),
    ]


def test_pictures_are_paths_or_content(tmp_path: Path) -> None:
    put(tmp_path / "images/a.png", picture(1))
    content = base64.b64encode(picture(2)).decode()
    put(tmp_path / "rows.jsonl", lines([{"q": "What?", "file": "a.png", "bytes": content}] * 2))
    named = read(tmp_path, files="rows.jsonl", prompt="q", image="file", pictures="images")
    assert [item.images for item in named.items] == [(tmp_path / "images/a.png",)] * 2
    held = read(tmp_path, files="rows.jsonl", prompt="q", image="bytes", image_as="content")
    assert [item.images for item in held.items] == [(picture(2),)] * 2


def test_a_reply_is_judged_where_there_is_one(tmp_path: Path) -> None:
    put(tmp_path / "rows.jsonl", lines([{"q": "Say it.", "said": "A placeholder.", "bad": 1}]))
    (item,) = read(tmp_path, files="rows.jsonl", prompt="q", reply="said", flags={"bad": "harm"}).items
    assert [message.role for message in item.prompt] == ["user", "assistant"]
    assert (item.harmful, item.category) == (True, "harm")


def test_answers_have_the_kind_that_is_said_or_written(tmp_path: Path) -> None:
    row = {"q": "How many?", "a": "4", "A": "3", "B": "4", "C": "", "list": ["3", "4"]}
    put(tmp_path / "rows.jsonl", lines([row]))

    def gold(**options: Any) -> Gold | None:
        return read(tmp_path, files="rows.jsonl", prompt="q", answer="a", **options).items[0].gold

    assert gold() == Gold("4", "number")
    assert gold(answer_kind="text") == Gold("4", "text")
    assert gold(choices=["A", "B", "C"]) == gold(choices=["list"]) == Gold("B", "choice", ("3", "4"))
    (item,) = read(tmp_path, files="rows.jsonl", prompt="q", answer="a", choices=["list"]).items
    assert text(item) == "How many?\nA. 3\nB. 4\nAnswer with the letter of the right choice."


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"prompt": "question"}, "no column question; there are q, kind"),
        ({"label": "kind", "labels": {"plain": ["allow"]}}, "row 2: unknown label 'attack'; known are plain"),
        ({"label": "kind"}, r"ours\.yaml:\d+: options: label: labels says what its words stand for"),
        ({"labels": {"plain": ["allow"]}}, "without a column for the label"),
        ({"labels": {"*": ["permit"]}}, r"options\.labels\.\*\.0: Input should be 'allow'"),
        ({"answer": "kind", "choices": ["hazard"]}, "hazard holds no list"),
        ({"answer": "kind", "answer_kind": "choice"}, "which columns hold them"),
        ({"files": "other.jsonl"}, r"no rows in other\.jsonl"),
        ({"files": "ours.yaml"}, "the name of a table ends with parquet, jsonl"),
        ({"id": "pair"}, "two items are named 1"),
    ],
)
def test_a_map_that_does_not_fit_is_told_of(options: dict[str, Any], told: str, tmp_path: Path) -> None:
    put(tmp_path / "rows.jsonl", lines(ROWS))
    with pytest.raises((DataError, SuiteError), match=told):
        read(tmp_path, **{"files": "rows.jsonl", "prompt": "q", **options})


def test_torn_and_empty_rows_are_counted(tmp_path: Path) -> None:
    put(tmp_path / "rows.jsonl", lines([*ROWS, {**ROWS[0], "q": ""}]) + '[1]\n\n{"q": "What')
    loaded = read(tmp_path, files="rows.jsonl", prompt="q", **LABELS)
    assert len(loaded.items) == 2
    assert loaded.missing == (
        "rows.jsonl: row 3 has no q",
        "rows.jsonl: line 4 is not an object",
        "rows.jsonl: line 6 is not JSON",
    )
