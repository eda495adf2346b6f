"""The plots of a report; each is left out where no run has what it shows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from safer_protocol.decision import Decision
from safer_training.evaluation.figures.estimate import Estimate
from safer_training.evaluation.figures.guard import NO_DECISION
from safer_training.evaluation.figures.of_run import Averages, RunFigures
from safer_training.evaluation.reporting.content import Plot
from safer_training.evaluation.reporting.drawing import COLOURS, GREY, LINES, MARKS, short, style, to_svg, whiskers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Runs = Sequence[RunFigures]
_COLUMNS = 3
_DARK = 55
"""Per cent from which on letters are white."""


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _grid(figure: "Figure", number: int) -> "list[Axes]":
    columns = min(_COLUMNS, number)
    rows = -(-number // columns)
    return [figure.add_subplot(rows, columns, place) for place in range(1, number + 1)]


def _size(number: int, width: float, height: float) -> tuple[float, float]:
    columns = min(_COLUMNS, number)
    return max(4.6, width * columns), height * -(-number // columns)


def name_of(run: RunFigures, runs: Runs) -> str:
    """Name a run in a plot: by its target, and by its set where there are several."""
    several = len({one.manifest.suite for one in runs}) > 1
    return short(f"{run.label}, {run.manifest.suite}" if several else run.label)


def refusals(means: Sequence[Averages]) -> Plot | None:
    """Refusal of harmful rows against over-refusal of harmless ones."""
    points = [
        (one.label, one.over_refusal, one.attack_success) for one in means if one.over_refusal and one.attack_success
    ]
    if not points:
        return None
    with style():
        figure = _figure(6.4, 5.2)
        axes = figure.add_subplot()
        looks = zip(cycle(COLOURS), cycle(MARKS), strict=False)
        for (label, over, attack), (colour, mark) in zip(points, looks, strict=False):
            held = Estimate(value=1 - attack.value, low=1 - attack.high, high=1 - attack.low, n=attack.n)
            axes.errorbar(
                [100 * over.value],
                [100 * held.value],
                xerr=whiskers([over]),
                yerr=whiskers([held]),
                fmt=mark,
                color=colour,
                markersize=8,
                capsize=3,
                elinewidth=1.2,
                label=short(label),
            )
        axes.plot([0, 100], [0, 100], ":", color=GREY, linewidth=1)
        axes.text(
            60, 57, "no better than chance", color=GREY, fontsize=8.5, rotation=37, rotation_mode="anchor", va="top"
        )
        axes.text(1, 101.5, "best", color=GREY, fontsize=8.5, ha="left", va="bottom")
        axes.set(
            xlim=(-3, 103),
            ylim=(-3, 107),
            xlabel="over-refusal: harmless requests not decided as expected (%)",
            ylabel="harmful requests held back (%)",
        )
        figure.legend(loc="outside lower center", ncols=2, fontsize=9)
        svg = to_svg(figure)
    return Plot(
        "refusals",
        "Refusal against over-refusal",
        "Up and to the left is better. Unweighted means over a target's sets; lines are 95 % intervals.",
        svg,
    )


def calibration(runs: Runs) -> Plot | None:
    """Stated risk against the share that is harmful."""
    with_risk = [(run, found) for run in runs if (found := run.calibration) and len(found.bins) > 1]
    if not with_risk:
        return None
    with style():
        figure = _figure(*_size(len(with_risk), 3.5, 3.6))
        for axes, (run, found) in zip(_grid(figure, len(with_risk)), with_risk, strict=True):
            shares, most = [one.harmful for one in found.bins], max(one.harmful.n for one in found.bins)
            axes.bar(
                [min(9, int(one.risk * 10)) / 10 + 0.05 for one in found.bins],
                [18 * one.harmful.n / most for one in found.bins],
                width=0.09,
                color="#d1d5db",
                label="rows of each bin",
            )
            axes.plot([0, 1], [0, 100], ":", color=GREY, linewidth=1, label="perfect")
            axes.errorbar(
                [one.risk for one in found.bins],
                [100 * one.value for one in shares],
                yerr=whiskers(shares),
                fmt="o-",
                color=COLOURS[0],
                markersize=5,
                capsize=3,
                linewidth=1.2,
                label="harmful",
            )
            ece = f"ECE {found.ece.value:.3f}" if found.ece else ""
            axes.set(xlim=(-0.02, 1.02), ylim=(0, 103), title=f"{name_of(run, runs)}\n{ece}, {found.rows:,} rows")
            axes.set(xlabel="stated risk (mean of a bin)", ylabel="harmful requests (%)")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
        svg = to_svg(figure)
    return Plot(
        "calibration",
        "Calibration of the stated risk",
        "On the dotted line a risk of 0.3 is harmful in 30 % of the cases. Lines are 95 % intervals, bars the rows of each bin.",
        svg,
    )


def confusions(runs: Runs) -> Plot | None:
    """Decisions expected against decisions taken, over all sets of a target."""
    pooled: dict[str, dict[str, Counter[str]]] = {}
    for run in runs:
        for expected, counts in run.confusion.items():
            pooled.setdefault(run.label, {}).setdefault(expected, Counter()).update(counts)
    if not pooled:
        return None
    with style():
        tallest = max(len(rows) for rows in pooled.values())
        figure = _figure(*_size(len(pooled), 3.9, 1.4 + 0.5 * tallest))
        for axes, (label, rows) in zip(_grid(figure, len(pooled)), pooled.items(), strict=True):
            _confusion(axes, rows)
            axes.set(xlabel="decision taken", ylabel="expected (rows)", title=short(label))
        svg = to_svg(figure)
    return Plot(
        "confusions",
        "Decisions: expected and taken",
        "Per cent and number of requests, over all sets of a target. Rows go by the first decision that counts as right; others "
        "may count, too. none: a failure, or a reply that shows no decision.",
        svg,
    )


def _confusion(axes: "Axes", rows: Mapping[str, Mapping[str, int]]) -> None:
    taken = [*(one.value for one in Decision), NO_DECISION]
    expected = [one.value for one in Decision if one.value in rows]
    sums = [sum(rows[one].values()) for one in expected]
    shares = [[100 * rows[one].get(it, 0) / total for it in taken] for one, total in zip(expected, sums, strict=True)]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row, one in enumerate(expected):
        for column, it in enumerate(taken):
            count, share = rows[one].get(it, 0), shares[row][column]
            text, colour = f"{share:.0f} %\n{count:,}" if count else "0", "white" if share > _DARK else "#111827"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    names = [f"{one.replace('_', ' ')}\n({total:,})" for one, total in zip(expected, sums, strict=True)]
    axes.set_xticks(range(len(taken)), [it.replace("_", "\n") for it in taken], fontsize=8.5)
    axes.set_yticks(range(len(expected)), names, fontsize=8.5)
    axes.grid(False)
    axes.tick_params(length=0)


def decision_times(runs: Runs) -> Plot | None:
    """How many decisions are there after how many seconds."""
    timed = [(run, run.timing.decision) for run in runs if run.timing.decision]
    timed = [(run, found) for run, found in timed if found.at(100) > 0]
    if not timed:
        return None
    with style():
        figure = _figure(6.8, 4.2)
        axes = figure.add_subplot()
        colours = dict(zip(dict.fromkeys(run.label for run, _ in timed), cycle(COLOURS), strict=False))
        lines = dict(zip(dict.fromkeys(run.manifest.suite for run, _ in timed), cycle(LINES), strict=False))
        for run, found in timed:
            colour, line = colours[run.label], lines[run.manifest.suite]
            seconds = [max(one, 1e-4) for one in found.seconds]
            axes.plot(seconds, range(101), line, color=colour, linewidth=1.6, label=name_of(run, runs))
            axes.plot([seconds[50], seconds[95]], [50, 95], "o", color=colour, markersize=4)
        for height, text in ((50, "median"), (95, "95 %")):
            axes.axhline(height, color=GREY, linewidth=0.8, linestyle=":")
            axes.text(1.005, height, text, transform=axes.get_yaxis_transform(), fontsize=8.5, color=GREY, va="center")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(
            ylim=(0, 101),
            xlabel="seconds from the request to the decision (logarithmic)",
            ylabel="requests decided (%)",
        )
        figure.legend(loc="outside lower center", ncols=2, fontsize=9)
        svg = to_svg(figure)
    return Plot(
        "decision_times",
        "Time to decision",
        "Further to the left is faster; where a target writes no decision, its first token of the answer counts.",
        svg,
    )
