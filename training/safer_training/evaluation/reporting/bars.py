"""The plots of a report that are bars: categories of a set, scores of judges, and flips."""

from collections.abc import Callable, Sequence
from itertools import cycle

from safer_training.evaluation.figures.estimate import Estimate
from safer_training.evaluation.figures.guard import Group
from safer_training.evaluation.figures.judged import RESPECTS, Respect
from safer_training.evaluation.figures.of_run import RunFigures
from safer_training.evaluation.reporting.content import Plot
from safer_training.evaluation.reporting.drawing import COLOURS, HATCHES, short, style, to_svg, whiskers

Runs = Sequence[RunFigures]
Panel = tuple[str, Sequence[Sequence[Estimate | None]]]
"""The label of its axis, and for every series a value a row."""

_MOST_BARS = 72


def categories(suite: str, runs: Runs) -> Plot | None:
    """The figures of the categories of one set, for all its targets."""
    names = [one.category for one in runs[0].categories][: max(4, _MOST_BARS // len(runs))]
    if len(names) < 2:
        return None
    groups = [{one.category: one for one in run.categories} for run in runs]
    figures: tuple[tuple[str, Callable[[Group], Estimate | None]], ...] = (
        ("attack success (%)", lambda one: one.attack_success),
        ("over-refusal (%)", lambda one: one.over_refusal),
        ("gold answers right (%)", lambda one: one.gold),
    )
    panels = [
        (label, [[figure(group[name]) if name in group else None for name in names] for group in groups])
        for label, figure in figures
    ]
    rows = {one.category: one.rows for one in runs[0].categories}
    left = len(runs[0].categories) - len(names)
    svg = _bars([f"{short(name)} ({rows[name]:,})" for name in names], [short(run.label) for run in runs], panels)
    if svg is None:
        return None
    smaller = f" The {left} smallest categories are left out." if left else ""
    note = f"Lines are 95 % intervals; the number of rows stands behind each category.{smaller}"
    return Plot(f"categories-{suite}", f"Categories of {suite}", note, svg)


def scores(runs: Runs) -> Plot | None:
    """Shares of best scores: a bar for each target, grouped by set and judge."""
    found = {(run.manifest.suite, one.judge, run.label): one for run in runs for one in run.judged}
    groups = list(dict.fromkeys((suite, judge) for suite, judge, _ in found))
    labels = list(dict.fromkeys(label for _, _, label in found))
    several = len({judge for _, judge in groups}) > 1

    def of(respect: Respect) -> Panel:
        values = [
            [one.respects[respect].strict if (one := found.get((*group, label))) else None for group in groups]
            for label in labels
        ]
        return f"{respect}: score 3 (% of all items)", values

    names = [short(f"{suite}, {judge}" if several else suite) for suite, judge in groups]
    svg = _bars(names, [short(label) for label in labels], [of(respect) for respect in RESPECTS])
    note = "Lines are 95 % intervals. Items without a reply or without scores count as failures."
    return Plot("scores", "Best scores by the judge", note, svg) if svg else None


def flips(runs: Runs) -> Plot | None:
    """Shares of decisions that flip in a variant: a bar for each target, grouped by variant and set."""
    found = {(one.variant, run.manifest.suite, run.label): one.flipped for run in runs for one in run.flips}
    groups = sorted({(variant, suite) for variant, suite, _ in found})
    labels = list(dict.fromkeys(label for _, _, label in found))
    several = len({suite for _, suite in groups}) > 1
    values = [[found.get((*group, label)) for group in groups] for label in labels]
    names = [short(f"{variant}, {suite}" if several else variant) for variant, suite in groups]
    svg = _bars(names, [short(label) for label in labels], [("decisions that flip (%)", values)])
    note = "Lines are 95 % intervals. Without picture or text, decisions that use both flip on some rows; others should not."
    return Plot("flips", "Flips of the decision", note, svg) if svg else None


def _bars(names: Sequence[str], series: Sequence[str], panels: Sequence[Panel]) -> bytes | None:
    """Draw horizontal bars: a group a name, a bar a series, and a panel a figure; None where there is no value at all."""
    from matplotlib.figure import Figure

    panels = [panel for panel in panels if any(one for values in panel[1] for one in values)]
    if not panels or not names:
        return None
    number = max(1, len(series))
    height = 1.1 + len(names) * max(0.3, 0.19 * number + 0.1) + 0.22 * -(-len(series) // 2)
    with style():
        figure = Figure(figsize=(2.6 + 2.9 * len(panels), height), layout="constrained")
        first = None
        for place, (label, values) in enumerate(panels, 1):
            axes = figure.add_subplot(1, len(panels), place, sharey=first)
            first = first or axes
            for index, (estimates, colour, hatch) in enumerate(
                zip(values, cycle(COLOURS), cycle(HATCHES), strict=False)
            ):
                thickness = 0.8 / number
                known = [(row, one) for row, one in enumerate(estimates) if one]
                axes.barh(
                    [row - 0.4 + thickness * (index + 0.5) for row, _ in known],
                    [100 * one.value for _, one in known],
                    height=thickness * 0.9,
                    color=colour,
                    alpha=0.85,
                    hatch=hatch,
                    edgecolor="white",
                    linewidth=0,
                    xerr=whiskers([one for _, one in known]),
                    error_kw={"ecolor": "#111827", "elinewidth": 0.9, "capsize": 1.8},
                    label=series[index] if series and place == 1 else None,
                )
                # A bar of no length has a place, too.
                axes.plot(
                    [100 * one.value for _, one in known],
                    [row - 0.4 + thickness * (index + 0.5) for row, _ in known],
                    "o",
                    markersize=3.2,
                    color=colour,
                    markeredgecolor="#111827",
                    markeredgewidth=0.6,
                    clip_on=False,
                    zorder=4,
                )
            axes.set(xlim=(0, 104), xlabel=label, ylim=(len(names) - 0.4, -0.6))
            axes.set_yticks(range(len(names)), names, fontsize=9)
            axes.grid(axis="y", visible=False)
            axes.tick_params(axis="y", length=0, labelleft=place == 1)
        if len(series) > 1:
            figure.legend(loc="outside upper center", ncols=2, fontsize=9)
        return to_svg(figure)
