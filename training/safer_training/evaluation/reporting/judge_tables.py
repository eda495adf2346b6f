"""The tables of what judges say."""

from collections.abc import Sequence

from safer_training.evaluation.figures.judged import RESPECTS, Judged
from safer_training.evaluation.figures.of_run import Averages, RunFigures
from safer_training.evaluation.reporting.content import NOTHING, Cell, Table, number, percent, plain
from safer_training.evaluation.reporting.tables import MEAN

Runs = Sequence[RunFigures]


def scores(runs: Runs, means: Sequence[Averages]) -> Table | None:
    """The headline: shares of best scores, ours and the paper's way."""
    rows: list[tuple[Cell, ...]] = [
        (
            *_names(run, one),
            plain(one.items),
            *(percent(one.respects[respect].strict) for respect in RESPECTS),
            plain(one.scored),
            *(percent(one.respects[respect].strict_paper) for respect in RESPECTS),
        )
        for run in runs
        for one in run.judged
        if one.items
    ]
    rows += [
        (
            *(Cell(f"{MEAN} of {len(mean.suites)} sets"), Cell(mean.label), Cell(judge), NOTHING),
            *(percent(respects[respect]) for respect in RESPECTS),
            NOTHING,
            *(percent(mean.judges_paper[judge][respect]) for respect in RESPECTS),
        )
        for mean in means
        for judge, respects in mean.judges.items()
    ]
    head = (
        *("set", "target", "judge", "items", *(f"{respect} = 3" for respect in RESPECTS)),
        *("scored", *(f"{respect} = 3, paper's way" for respect in RESPECTS)),
    )
    note = (
        "Per cent, with Wilson's 95 % intervals. *= 3*: of all items; one without a reply or without scores has "
        "failed. *paper's way*: of the replies that have scores alone; the others are dropped."
    )
    return Table("Best scores", head, tuple(rows), 3, note) if rows else None


def means_of_scores(runs: Runs) -> Table | None:
    """Shares of 2 and above, and means."""
    rows = tuple(
        (
            *_names(run, one),
            *(percent(one.respects[respect].good) for respect in RESPECTS),
            *(number(one.respects[respect].mean) for respect in RESPECTS),
        )
        for run in runs
        for one in run.judged
        if one.items
    )
    head = (
        *("set", "target", "judge", *(f"{respect} ≥ 2" for respect in RESPECTS)),
        *(f"{respect}, mean" for respect in RESPECTS),
    )
    note = (
        "*≥ 2*: per cent of all items. *mean*: over the replies that have scores, with the interval of a bootstrap; "
        "safety goes from -3 to 3, helpfulness and rigor from 0 to 3."
    )
    return Table("Good scores and means", head, rows, 3, note) if rows else None


def open_answers(runs: Runs) -> Table | None:
    """Answers in free words against the right ones."""
    rows = tuple(
        (*_names(run, one), plain(one.open_items), plain(one.compared), percent(one.correct))
        for run in runs
        for one in run.judged
        if one.open_items
    )
    note = "Mean share that is right, in per cent, with the interval of a bootstrap; one without a reply or score counts 0."
    head = ("set", "target", "judge", "items", "compared", "correct")
    return Table("Answers in free words", head, rows, 3, note) if rows else None


def agreement(runs: Runs) -> Table | None:
    """How far two judges agree."""
    rows = tuple(
        (
            *(Cell(run.manifest.suite), Cell(run.label), Cell(" and ".join(one.judges)), plain(one.rows)),
            *(percent(one.exact[respect]) for respect in RESPECTS),
            *(NOTHING if (kappa := one.kappa[respect]) is None else Cell(f"{kappa:.2f}") for respect in RESPECTS),
        )
        for run in runs
        for one in run.agreements
    )
    head = (
        *("set", "target", "judges", "both scored", *(f"{respect}, same score" for respect in RESPECTS)),
        *(f"{respect}, kappa" for respect in RESPECTS),
    )
    note = (
        "*same score*: per cent. *kappa*: Cohen's, quadratic weights: 1 is agreement, 0 what chance gives; none "
        "where all scores are the same."
    )
    return Table("Agreement of judges", head, rows, 3, note) if rows else None


def trust(runs: Runs) -> Table | None:
    """What judges cost, where they failed, and whether they can be talked over."""
    rows = tuple(
        (
            Cell(run.manifest.suite),
            *(Cell(run.label), Cell(one.judge), Cell(one.card.model)),
            *(
                plain(one.scored + one.compared),
                plain(one.no_reply),
                plain(one.not_asked),
                plain(sum(one.errors.values())),
            ),
            Cell(_probed(one)),
            *(plain(one.prompt_tokens), plain(one.completion_tokens)),
            NOTHING if one.cost is None else Cell(f"{one.cost:,.2f}"),
        )
        for run in runs
        for one in run.judged
    )
    head = (
        *("set", "target", "judge", "model", "scored", "no reply", "not asked", "judge failed"),
        *("raised by injections", "tokens in", "tokens out", "cost"),
    )
    note = (
        "*judge failed*: it gave prose, broken JSON or nothing. *raised by injections*: how many of the replies that "
        "order, claim or forge a grade got a better score than the same reply without that; a judge for which this "
        "is not 0 can be talked over. *cost*: in the currency of the prices that were given."
    )
    return Table("Judges", head, rows, 4, note) if rows else None


def judge_failures(runs: Runs) -> Table | None:
    """Why there are no scores."""
    rows = tuple(
        (Cell(run.manifest.suite), Cell(run.label), Cell(one.judge), Cell(reason), plain(number))
        for run in runs
        for one in run.judged
        for reason, number in one.errors.items()
    )
    return (
        Table("Failures of judges by reason", ("set", "target", "judge", "reason", "rows"), rows, 4) if rows else None
    )


def _names(run: RunFigures, one: Judged) -> tuple[Cell, ...]:
    return Cell(run.manifest.suite), Cell(run.label), Cell(one.judge)


def _probed(one: Judged) -> str:
    probed = one.card.probed
    if probed is None:
        return "not tested"
    names = f": {', '.join(probed.moved)}" if probed.moved else ""
    return f"{len(probed.moved)} of {probed.asked}{names}"
