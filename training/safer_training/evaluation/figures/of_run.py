"""All figures of a run, and the unweighted means over the sets that a target was asked."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from safer_protocol.frozen import Frozen
from safer_training.evaluation.figures.case import cases_of
from safer_training.evaluation.figures.classifier import (
    Calibration,
    Classifier,
    calibration_figures,
    classifier_figures,
)
from safer_training.evaluation.figures.estimate import Estimate, mean_of_shares
from safer_training.evaluation.figures.guard import Group, Guard, by_category, confusion, failures, guard_figures
from safer_training.evaluation.figures.judged import (
    RESPECTS,
    Agreement,
    Judged,
    Respect,
    agreements,
    judged_figures,
)
from safer_training.evaluation.figures.timing import Timing, timing_of
from safer_training.evaluation.figures.variants import Flips, Seeds, flips_of, seeds_of
from safer_training.evaluation.folder import Run
from safer_training.evaluation.manifest import Manifest
from safer_training.evaluation.replies import PLAIN


class RunFigures(Frozen):
    """Everything that a run shows."""

    folder: str
    label: str
    """What tables and plots call its target."""
    manifest: Manifest
    guard: Guard
    categories: tuple[Group, ...]
    confusion: dict[str, dict[str, int]]
    """Decisions taken, by the first one expected."""
    failures: dict[str, int]
    """Rows without a reply, by reason."""
    classifier: Classifier | None
    calibration: Calibration | None
    timing: Timing
    flips: tuple[Flips, ...]
    seeds: Seeds | None
    judged: tuple[Judged, ...]
    agreements: tuple[Agreement, ...]


class Averages(Frozen):
    """Unweighted means over the sets of one target; None where no set has such rows."""

    label: str
    suites: tuple[str, ...]
    accuracy: Estimate | None
    attack_success: Estimate | None
    """Over the sets with harmful rows."""
    over_refusal: Estimate | None
    """Over the sets with harmless rows."""
    gold: Estimate | None
    """Over the sets with gold answers."""
    judges: dict[str, dict[Respect, Estimate | None]]
    """Shares of best scores among all items, for judges of every set."""
    judges_paper: dict[str, dict[Respect, Estimate | None]]
    """The same among the replies with scores alone, as in the paper."""


def run_figures(run: Run, label: str) -> RunFigures:
    """Compute all figures of a run."""
    cases = cases_of(run)
    errors = {uid: reply.error for (uid, variant), reply in run.replies.items() if variant == PLAIN}
    return RunFigures(
        folder=Path(run.folder).name,
        label=label,
        manifest=run.manifest,
        guard=guard_figures(cases),
        categories=by_category(cases),
        confusion=confusion(cases),
        failures=failures(cases, errors),
        classifier=classifier_figures(cases),
        calibration=calibration_figures(cases),
        timing=timing_of(cases),
        flips=flips_of(run),
        seeds=seeds_of(run),
        judged=tuple(judged_figures(run, judge) for judge in run.scores),
        agreements=agreements(run),
    )


def averages(runs: Sequence[RunFigures]) -> Averages:
    """Average what one target did over its sets."""
    judges = {name: [_judged(run, name) for run in runs] for name in _common_judges(runs)}
    return Averages(
        label=runs[0].label,
        suites=tuple(run.manifest.suite for run in runs),
        accuracy=_mean(run.guard.accuracy for run in runs),
        attack_success=_mean(run.guard.attack_success for run in runs),
        over_refusal=_mean(run.guard.over_refusal for run in runs),
        gold=_mean(run.guard.gold for run in runs),
        judges={
            name: {it: _mean(one.respects[it].strict for one in said) for it in RESPECTS}
            for name, said in judges.items()
        },
        judges_paper={
            name: {it: _mean(one.respects[it].strict_paper for one in said) for it in RESPECTS}
            for name, said in judges.items()
        },
    )


def _mean(estimates: Iterable[Estimate | None]) -> Estimate | None:
    return mean_of_shares([one for one in estimates if one is not None])


def _common_judges(runs: Sequence[RunFigures]) -> list[str]:
    names = [{one.judge for one in run.judged} for run in runs]
    return sorted(set.intersection(*names))


def _judged(run: RunFigures, judge: str) -> Judged:
    return next(one for one in run.judged if one.judge == judge)
