"""The generator: the same every time, many rows, both kinds, pairs that share their alarming word."""

import subprocess
import sys
from collections import defaultdict

from safer_protocol.categories import CATEGORY_WORDS
from safer_training.generate import FAMILIES, generate
from safer_training.rows import Row, digest


def test_the_same_seed_gives_the_same_rows(rows: list[Row]) -> None:
    assert generate() == rows
    assert generate(1) != rows


def test_rows_do_not_depend_on_the_process(rows: list[Row]) -> None:
    code = "from safer_training.generate import generate; from safer_training.rows import digest; print(digest(generate()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert done.stdout.strip() == digest(rows)


def test_there_are_thousands_of_rows_of_both_kinds(rows: list[Row]) -> None:
    assert len(rows) > 3000
    assert 0.3 < sum(row.refusing for row in rows) / len(rows) < 0.6
    assert {row.set for row in rows} == {f"own_{family}" for family in FAMILIES}


def test_names_are_unique_and_categories_known(rows: list[Row]) -> None:
    assert len({row.uid for row in rows}) == len(rows)
    assert {row.category for row in rows} <= set(CATEGORY_WORDS)


def test_no_placeholder_is_left_in_a_text(rows: list[Row]) -> None:
    assert not [row.text for row in rows if not row.text.strip() or {"{", "}"} & set(row.text)]


def test_alarming_verbs_occur_in_harmless_and_in_harmful_requests(rows: list[Row]) -> None:
    kinds = defaultdict(set)
    for row in rows:
        if row.set in ("own_verbs", "own_acts", "own_substances"):
            kinds[row.group].add(row.refusing)
    assert all(found == {True, False} for found in kinds.values())


def test_requests_ask_and_do_not_instruct(rows: list[Row]) -> None:
    assert max(len(row.text) for row in rows) < 200
