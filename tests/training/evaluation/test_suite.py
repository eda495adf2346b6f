"""Suites: shipped ones are whole, users' ones are found, and what is wrong in a file is named with its line."""

import json
from pathlib import Path

import pytest

from safer_protocol.decision import Decision
from safer_training.errors import DataError, SuiteError
from safer_training.evaluation.loaders import LAYOUTS
from safer_training.evaluation.loaders.facts import Facts
from safer_training.evaluation.loaders.table import Table
from safer_training.evaluation.suite import SUITES, Card, load_suite, read_card, shipped, shipped_cards

CARD = """\
name: ours
title: Our set
kind: safety
measures: Refusals
licence: MIT
source: nowhere
layout: facts
options:
  sets: [some]
"""


def facts(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    row = {"uid": "some:1", "set": "some", "prompt": "What is tea?", "category": "drinks", "expected": ["allow"]}
    (folder / "prompts.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "uid": "x:1", "set": "x"}) + "\n")
    return folder


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_suite_is_named_like_its_file(name: str) -> None:
    card, _ = read_card(SUITES / f"{name}.yaml")
    assert card.name == name


@pytest.mark.parametrize("beside", [True, False])
def test_a_users_suite_is_one_file(beside: bool, tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(CARD + "folder: rows\n")
    folder = facts(tmp_path / "rows")
    items = load_suite(file, None if beside else folder).load().items
    assert [(item.uid, item.category, item.expected) for item in items] == [("some:1", "drinks", (Decision.ALLOW,))]


def test_a_folder_of_all_downloads_will_do(tmp_path: Path) -> None:
    assert load_suite("xstest", tmp_path).folder == tmp_path
    facts(tmp_path / "facts")
    assert load_suite("xstest", tmp_path).folder == tmp_path / "facts"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (("kind: safety", "kind: fun"), r"ours\.yaml:3: kind: Input should be"),
        (("layout: facts", "layout: fakts"), r"ours\.yaml:7: layout: no loader 'fakts'; known are .*facts"),
        (("licence: MIT", "license: MIT"), r"ours\.yaml:1: licence: this key is needed"),
        (("source: nowhere", "source: nowhere\nhint: 3"), r"ours\.yaml:7: hint: no such key"),
        (("sets: [some]", "sets: []"), r"ours\.yaml:9: options\.sets: "),
        (("sets: [some]", "sets: [some]\n  set: 3"), r"ours\.yaml:10: options\.set: no such key"),
        (("title: Our set", "title: [Our set"), r"ours\.yaml:\d+: "),
        (("title: Our set", "title: \x07"), r"ours\.yaml: holds characters"),
        ((CARD, "just words"), r"ours\.yaml:1: "),
        ((CARD, ""), r"ours\.yaml:1: "),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_line_and_key(spoil: tuple[str, str], told: str, tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(CARD.replace(*spoil))
    with pytest.raises(SuiteError, match=told):
        load_suite(file)


def test_a_suite_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"no suite xtest; a file, or one of .*xstest"):
        load_suite("xtest", tmp_path)
    with pytest.raises(SuiteError, match="name its folder with --data"):
        load_suite("xstest")
    with pytest.raises(SuiteError, match="no such folder"):
        load_suite("xstest", tmp_path / "none")
    with pytest.raises(DataError, match=str(tmp_path)):
        load_suite("xstest", tmp_path).load()


DOCUMENTED = (Path(__file__).parents[3] / "docs" / "suites.md").read_text()


@pytest.mark.parametrize("name", [*shipped(), *LAYOUTS, *Table.model_fields, *Facts.model_fields, *Card.model_fields])
def test_the_page_of_suites_names(name: str) -> None:
    assert f"`{name}`" in DOCUMENTED or f"\n{name}:" in DOCUMENTED


def test_the_page_of_suites_gives_licences_as_the_files_do() -> None:
    for card in shipped_cards():
        (line,) = (
            line for line in DOCUMENTED.splitlines() if line.startswith(f"| `{card.name}` | ") and line.count("|") == 5
        )
        if card.licence.startswith(("CC", "MIT", "Apache")):
            assert card.licence.partition(";")[0] in line
