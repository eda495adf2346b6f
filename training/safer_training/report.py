"""The report of a curriculum: a table with a line for every checkpoint, and the curves of every stage."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safer_protocol.toolkit import Toolkit
from safer_training.measure import Measured

REPORT_FILE, FIGURES_FILE, CURVES_FILE = "report.md", "report.json", "curves.png"
CURVES: Mapping[str, tuple[str, ...]] = {
    "sft": ("loss",),
    "dpo": ("loss", "rewards/accuracies", "rewards/margins"),
    "grpo": ("reward", "kl", "entropy", "completions/mean_length"),
}
"""What is drawn of each stage: names in its log."""

Logs = Mapping[str, Sequence[Mapping[str, Any]]]


def write_report(
    out: Path, name: str, toolkit: Toolkit, rows: int, measured: Mapping[str, Measured | None], logs: Logs
) -> Path:
    """Write Markdown, JSON and curves into a folder, and return the path of the first."""
    figures = {stage: one and one.to_dict() for stage, one in measured.items()}
    (out / FIGURES_FILE).write_text(json.dumps({"recipe": name, "rows": rows, "stages": figures}, indent=2) + "\n")
    draw_curves(out / CURVES_FILE, logs)
    outages = sum(record.get("paper/outages", 0.0) for record in logs.get("grpo", ()))
    lines = [
        f"# Curriculum `{name}`",
        "",
        f"Protocol `{toolkit.hash}`.",
        f"Greedy replies under the mask to {rows} held-out prompts; shares in per cent. *Accuracy* counts any way of holding",
        "back as right where allowing is wrong, *strict* wants an expected decision. *Over-refusal*: wrong where allowing was",
        "right; *miss*: let through where it was wrong.",
        "",
        *table(measured),
        "",
        f"![Curves of the stages]({CURVES_FILE})",
        "",
        f"Outages of the judge, per batch and added up: {outages:g}.",
    ]
    (out / REPORT_FILE).write_text("\n".join(lines) + "\n")
    return out / REPORT_FILE


def table(measured: Mapping[str, Measured | None]) -> list[str]:
    """Return a Markdown table of what was measured; a line of dashes where nothing was."""
    lines = [
        "| after | reward `verified` | valid | accuracy | strict | over-refusal | miss |",
        "|---|---|---|---|---|---|---|",
    ]
    for stage, one in measured.items():
        if one is None:
            lines.append(f"| {stage} | - | - | - | - | - | - |")
            continue
        decided = one.decisions
        shares = (one.valid, decided.accuracy, decided.strict, decided.over_refusal, decided.miss)
        cells = " | ".join("-" if share is None else f"{100 * share:.1f}" for share in shares)
        lines.append(f"| {stage} | {one.reward:.3f} | {cells} |")
    return lines


def draw_curves(path: Path, logs: Logs) -> None:
    """Draw the curves of all stages into one picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wanted = [(stage, key) for stage in logs for key in CURVES[stage]]
    figure = Figure(figsize=(4 * max(1, len(wanted)), 3), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (stage, key) in enumerate(wanted, 1):
        points = [(record["step"], record[key]) for record in logs[stage] if key in record]
        axes = figure.add_subplot(1, len(wanted), place)
        axes.plot([step for step, _ in points], [value for _, value in points])
        axes.set(title=f"{stage}: {key}", xlabel="update")
    figure.savefig(path, dpi=100)
