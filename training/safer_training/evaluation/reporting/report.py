"""The report of one or more runs, side by side: what is in it, and its files."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from safer_protocol.frozen import Frozen
from safer_training.errors import DataError
from safer_training.evaluation.figures.of_run import Averages, RunFigures, averages, run_figures
from safer_training.evaluation.folder import Run, read_run
from safer_training.evaluation.reporting import bars, judge_tables, plots, tables
from safer_training.evaluation.reporting.content import Plot, Section, Table
from safer_training.evaluation.reporting.html import to_html
from safer_training.evaluation.reporting.markdown import to_markdown
from safer_training.evaluation.reporting.quoted import quoted

FIGURES_FILE, MARKDOWN_FILE, HTML_FILE, PLOTS_FOLDER = "figures.json", "report.md", "report.html", "plots"
TITLE = "Evaluation"


class Figures(Frozen):
    """All figures of a report: what `figures.json` holds."""

    runs: tuple[RunFigures, ...]
    averages: tuple[Averages, ...]
    """By target."""


def figures_of(folders: Sequence[Path], progress: Callable[[int, int], None] = lambda done, total: None) -> Figures:
    """Read runs and compute their figures; raise `DataError` where they cannot stand side by side."""
    runs = [read_run(folder) for folder in dict.fromkeys(folders)]
    _same_items(runs)
    found = []
    for done, (run, label) in enumerate(zip(runs, _labels(runs), strict=True)):
        progress(done, len(runs))
        found.append(run_figures(run, label))
    progress(len(runs), len(runs))
    by_label = {
        label: [run for run in found if run.label == label] for label in dict.fromkeys(run.label for run in found)
    }
    return Figures(runs=tuple(found), averages=tuple(averages(some) for some in by_label.values()))


def write_report(figures: Figures, out: Path) -> Path:
    """Write JSON, Markdown, HTML and plots into a folder, and return the path of the HTML."""
    sections = sections_of(figures)
    (out / PLOTS_FOLDER).mkdir(parents=True, exist_ok=True)
    for plot in (part for section in sections for part in section.parts if isinstance(part, Plot)):
        (out / PLOTS_FOLDER / f"{plot.name}.svg").write_bytes(plot.svg)
    (out / FIGURES_FILE).write_text(figures.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (out / MARKDOWN_FILE).write_text(to_markdown(TITLE, sections, PLOTS_FOLDER), encoding="utf-8")
    (out / HTML_FILE).write_text(to_html(TITLE, sections), encoding="utf-8")
    return out / HTML_FILE


def sections_of(figures: Figures) -> tuple[Section, ...]:
    """Put together what there is to show."""
    runs = figures.runs
    suites = {
        suite: [run for run in runs if run.manifest.suite == suite]
        for suite in dict.fromkeys(one.manifest.suite for one in runs)
    }
    means = [one for one in figures.averages if len(one.suites) > 1]
    judged = any(run.judged for run in runs)
    sections = (
        Section("Runs", parts=_there(tables.asked(runs), tables.missing(runs), tables.failed(runs))),
        Section(
            "Without a judge",
            parts=_there(tables.decisions(runs, means), plots.refusals(figures.averages), plots.confusions(runs)),
        ),
        Section(
            "By a judge",
            "Scores of a model, which may err. An error of the judge is a failure of the row, and counted below.",
            _there(
                judge_tables.scores(runs, means),
                bars.scores(runs),
                judge_tables.means_of_scores(runs),
                judge_tables.open_answers(runs),
                judge_tables.agreement(runs),
                judge_tables.trust(runs),
                judge_tables.judge_failures(runs),
            ),
        ),
        Section("As a classifier", parts=_there(tables.classifier(runs), plots.calibration(runs))),
        Section("When the item changes", parts=_there(tables.variants(runs), bars.flips(runs), tables.seeds(runs))),
        Section("Time", parts=_there(tables.times(runs), plots.decision_times(runs))),
        Section(
            "Categories",
            parts=_there(
                *(bars.categories(_file_name(suite), some) for suite, some in suites.items()),
                *(tables.categories(run) for run in runs if len(run.categories) > 1),
            ),
        ),
    )
    return (*(one for one in sections if one.parts), *((quoted(),) if judged else ()))


def _there(*parts: Table | Plot | None) -> tuple[Table | Plot, ...]:
    return tuple(part for part in parts if part is not None)


def _file_name(suite: str) -> str:
    return re.sub(r"[^\w.-]", "_", suite)


def _labels(runs: Sequence[Run]) -> list[str]:
    """Call runs by their targets, and by their folders, too, where one target ran a set twice."""
    pairs = [(run.manifest.suite, run.manifest.target.name) for run in runs]
    return [
        f"{name} ({run.folder})" if pairs.count((suite, name)) > 1 else name
        for run, (suite, name) in zip(runs, pairs, strict=True)
    ]


def _same_items(runs: Sequence[Run]) -> None:
    """Refuse to set figures on other rows side by side as if they were on the same."""
    seen: dict[str, Run] = {}
    for run in runs:
        first = seen.setdefault(run.manifest.suite, run)
        if first.manifest.items_sha256 != run.manifest.items_sha256:
            raise DataError(
                f"{first.folder} and {run.folder} asked other items of {run.manifest.suite}: "
                f"report them apart, or compare what they share with `safer eval compare`"
            )
