"""What changes when the item or the sampling changes: flips of the decision, and whether seeds agree."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

from safer_protocol.frozen import Frozen
from safer_training.evaluation.figures.case import Case, cases_of, known
from safer_training.evaluation.figures.estimate import Estimate, share
from safer_training.evaluation.folder import Run

_SEED = "seed-"
_REMOVED = ("no_image", "no_text")


class Flips(Frozen):
    """Decisions in a variant beside the plain ones, on the items that were asked in it."""

    variant: str
    kind: Literal["removed", "disturbed"]
    """`removed`: a part is gone, and decisions that use it should change. `disturbed`: they should not."""
    rows: int
    undecided: int
    """Items without a decision on one of the two sides; they are not in `flipped`."""
    flipped: Estimate | None
    """Of the items with both decisions: those in which they differ."""
    accuracy: Estimate | None
    """In the variant."""
    accuracy_plain: Estimate | None
    """Of the same items as they are."""
    gold: Estimate | None
    gold_plain: Estimate | None


class Seeds(Frozen):
    """Self-consistency over seeds."""

    seeds: tuple[str, ...]
    rows: int
    unanimous: Estimate | None
    """Items on which all seeds took the same decision; one without a decision agrees with none."""
    agreement: float | None
    """Mean over the items of the share of pairs of seeds that agree."""


def flips_of(run: Run) -> tuple[Flips, ...]:
    """Compare each variant with the plain replies."""
    return tuple(_flips(run, variant) for variant in run.variants if not variant.startswith(_SEED))


def seeds_of(run: Run) -> Seeds | None:
    """Compare the seeds with one another; None where there are not two."""
    seeds = tuple(variant for variant in run.variants if variant.startswith(_SEED))
    if len(seeds) < 2:
        return None
    by_item = defaultdict(list)
    for uid, variant in run.replies:
        if variant in seeds:
            reply = run.reply(uid, variant)
            by_item[uid].append(reply.decision if reply else None)
    agreeing = [
        [one is not None and one == other for one, other in combinations(decisions, 2)]
        for decisions in by_item.values()
        if len(decisions) > 1
    ]
    return Seeds(
        seeds=seeds,
        rows=len(agreeing),
        unanimous=share(all(pairs) for pairs in agreeing),
        agreement=sum(sum(pairs) / len(pairs) for pairs in agreeing) / len(agreeing) if agreeing else None,
    )


def _flips(run: Run, variant: str) -> Flips:
    asked = {uid for uid, name in run.replies if name == variant}
    pairs = [
        (plain, changed)
        for plain, changed in zip(cases_of(run), cases_of(run, variant), strict=True)
        if plain.item.uid in asked
    ]
    decided = [(one.decision, other.decision) for one, other in pairs if one.decision and other.decision]
    plain, changed = [one for one, _ in pairs], [other for _, other in pairs]
    return Flips(
        variant=variant,
        kind="removed" if variant in _REMOVED else "disturbed",
        rows=len(pairs),
        undecided=len(pairs) - len(decided),
        flipped=share(one is not other for one, other in decided),
        accuracy=_accuracy(changed),
        accuracy_plain=_accuracy(plain),
        gold=share(known(case.answers_rightly for case in changed)),
        gold_plain=share(known(case.answers_rightly for case in plain)),
    )


def _accuracy(cases: Sequence[Case]) -> Estimate | None:
    return share(case.answered.right for case in cases if case.item.expected)
