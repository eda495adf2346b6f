"""A comparison of two runs as a report, in Markdown and JSON."""

from pathlib import Path

from safer_training.evaluation.figures.compare import Comparison, Difference
from safer_training.evaluation.reporting.content import NOTHING, Cell, Section, Table, plain
from safer_training.evaluation.reporting.markdown import to_markdown

COMPARISON_FILES = "compare.json", "compare.md"
_RAW = ("mean ", "F1", "AUROC", "Brier")


def comparison_markdown(found: Comparison) -> str:
    """Write a comparison as Markdown."""
    rows = tuple(_row(one) for one in found.differences)
    head = ("figure", "rows", "A", "B", "B - A", "only A", "only B", "test", "p", "p, Holm", "verdict")
    note = (
        "Shares in per cent. Intervals (95 %) are of a paired bootstrap of 1,000 resamples; the tests are McNemar's, exact, "
        "for shares and random flips of signs for means. *only A*, *only B*: rows that have it in one run alone; few of "
        "them make an interval unreliable. *is better*: p below 0.05 even after Holm's correction for the number of tests; "
        "*may be better*: without it, or where there is no test, the interval leaves out 0."
    )
    apart = ((found.only_in_a, "only in A"), (found.only_in_b, "only in B"), (found.changed, "asked otherwise"))
    left_out = ", ".join(f"{number:,} {what}" for number, what in apart if number) or "none"
    text = f"{found.rows:,} rows that both were asked; left out: {left_out}."
    section = Section(f"A: {found.a}, B: {found.b}", text, (Table("Differences", head, rows, 1, note),))
    return to_markdown("Comparison", [section], "")


def write_comparison(found: Comparison, out: Path) -> None:
    """Write a comparison into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    data, text = COMPARISON_FILES
    (out / data).write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (out / text).write_text(comparison_markdown(found), encoding="utf-8")


def _row(one: Difference) -> tuple[Cell, ...]:
    scale, places = (1, 3) if one.figure.startswith(_RAW) else (100, 1)
    between = one.difference
    return (
        Cell(one.figure),
        plain(one.rows),
        Cell(f"{scale * one.a:z.{places}f}"),
        Cell(f"{scale * one.b:z.{places}f}"),
        Cell(
            f"{scale * between.value:+z.{places}f}",
            f"[{scale * between.low:+z.{places}f}, {scale * between.high:+z.{places}f}]",
        ),
        plain(one.only_a),
        plain(one.only_b),
        Cell(one.test) if one.test != "none" else NOTHING,
        _p(one.p),
        _p(one.p_holm),
        Cell(one.verdict),
    )


def _p(value: float | None) -> Cell:
    if value is None:
        return NOTHING
    return Cell("< 0.001") if value < 0.001 else Cell(f"{value:.3f}")
