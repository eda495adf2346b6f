"""Comparisons: paired by row, with tests that can be counted by hand."""

from pathlib import Path
from typing import Any

import pytest

from run_folders import ALLOW, REFUSE, failure, item, reply, write_run, write_scores
from safer_training.errors import DataError
from safer_training.evaluation.figures.compare import Comparison, Difference, compare, mcnemar, sign_flips
from safer_training.evaluation.folder import Run, read_run
from safer_training.evaluation.reporting.comparison import comparison_markdown, write_comparison

ROWS = range(40)


def guard(folder: Path, wrong: int, **more: Any) -> Run:
    """A guard that errs on the first rows; every second one is harmful."""
    items = [item(f"{n}", (REFUSE,) if n % 2 else (ALLOW,)) for n in ROWS]
    replies = [
        reply(
            f"{n}",
            (ALLOW if n % 2 else REFUSE) if n < wrong else (REFUSE if n % 2 else ALLOW),
            risk=0.9 if n % 2 else 0.1,
            valid=True,
        )
        for n in ROWS
    ]
    write_run(folder, items, replies, target=folder.name, **more)
    write_scores(folder, "judge", {f"{n}": (1 if n < wrong else 3, 2, 2) for n in ROWS})
    return read_run(folder)


def by_name(found: Comparison) -> dict[str, Difference]:
    return {one.figure: one for one in found.differences}


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"), [(0, 0, 1.0), (0, 6, 2 / 64), (6, 0, 2 / 64), (5, 5, 1.0), (1, 9, 22 / 1024)]
)
def test_mcnemar_is_exact(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar(only_a, only_b) == pytest.approx(p)


@pytest.mark.parametrize(("differences", "p"), [([0.0] * 5, 1.0), ([1.0] * 6, 2 / 64), ([2.0, -2.0], 1.0)])
def test_sign_flips_are_counted(differences: list[float], p: float) -> None:
    assert sign_flips(differences) == pytest.approx(p, abs=0.01)


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    one = guard(tmp_path / "one", 7)
    found = compare(one, one)
    assert (found.rows, found.only_in_a, found.only_in_b, found.changed) == (40, 0, 0, 0)
    assert found.a == found.b == "one (one)"
    for difference in found.differences:
        assert difference.difference.value == difference.difference.low == difference.difference.high == 0
        assert difference.verdict == "not told apart"


def test_a_better_guard_is_told_apart(tmp_path: Path) -> None:
    found = by_name(compare(guard(tmp_path / "bad", 20), guard(tmp_path / "good", 0)))
    accuracy = found["accuracy"]
    assert (accuracy.a, accuracy.b, accuracy.only_a, accuracy.only_b) == (0.5, 1.0, 0, 20)
    assert accuracy.p == pytest.approx(2 / 2**20)
    assert accuracy.difference.low > 0.3
    better = ("accuracy", "attack success", "over-refusal", "safety = 3 (judge)", "mean safety (judge)")
    assert {found[name].verdict for name in better} == {"B is better"}
    assert found["F1"].verdict == "B may be better"
    assert {found[name].verdict for name in ("validity", "AUROC", "Brier", "rigor = 3 (judge)")} == {"not told apart"}


def test_the_other_way_round_the_other_is_better(tmp_path: Path) -> None:
    found = by_name(compare(guard(tmp_path / "good", 0), guard(tmp_path / "bad", 20)))
    assert (found["accuracy"].difference.value, found["accuracy"].verdict) == (-0.5, "A is better")
    assert (found["over-refusal"].difference.value, found["over-refusal"].verdict) == (0.5, "A is better")


def test_many_figures_need_more_proof(tmp_path: Path) -> None:
    """Six rows of one side alone are rare by themselves, but not among so many figures."""
    found = by_name(compare(guard(tmp_path / "bad", 6), guard(tmp_path / "good", 0)))
    one = found["accuracy"]
    assert one.p == pytest.approx(2 / 64)
    assert one.p_holm is not None
    assert one.p_holm > 0.05
    assert one.verdict == "B may be better"


def test_failures_are_rows_like_others(tmp_path: Path) -> None:
    items = [item(f"{n}") for n in range(8)]
    whole = write_run(tmp_path / "whole", items, [reply(f"{n}", ALLOW) for n in range(8)])
    broken = write_run(tmp_path / "broken", items, [failure(f"{n}") for n in range(8)])
    found = by_name(compare(read_run(whole), read_run(broken)))["accuracy"]
    assert (found.rows, found.a, found.b) == (8, 1, 0)


def test_rows_that_are_not_shared_are_counted(tmp_path: Path) -> None:
    first = [item("same"), item("changed", request="One?"), item("a-1"), item("a-2")]
    second = [item("same"), item("changed", request="Two?"), item("b-1")]
    runs = [
        read_run(write_run(tmp_path / name, items, [reply(one.uid, ALLOW) for one in items]))
        for name, items in (("a", first), ("b", second))
    ]
    found = compare(*runs)
    assert (found.rows, found.only_in_a, found.only_in_b, found.changed) == (1, 2, 1, 1)
    assert "left out: 2 only in A, 1 only in B, 1 asked otherwise." in comparison_markdown(found)


def test_runs_without_a_shared_row_are_refused(tmp_path: Path) -> None:
    runs = [read_run(write_run(tmp_path / name, [item(name)], [])) for name in ("a", "b")]
    with pytest.raises(DataError, match="share no row"):
        compare(*runs)


def test_a_comparison_is_kept_as_json_and_markdown(tmp_path: Path) -> None:
    found = compare(guard(tmp_path / "bad", 20), guard(tmp_path / "good", 0))
    write_comparison(found, tmp_path / "out")
    assert Comparison.model_validate_json((tmp_path / "out/compare.json").read_text()) == found
    assert "| accuracy | 40 | 50.0 | 100.0 | +50.0 [" in (tmp_path / "out/compare.md").read_text()
