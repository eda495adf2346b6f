"""From a suite and a target to a finished run folder."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from safer_training.errors import DataError
from safer_training.evaluation.item import Item, Loaded
from safer_training.evaluation.listing import Listed, digest, listed, some
from safer_training.evaluation.manifest import Manifest, TargetCard, TargetKind
from safer_training.evaluation.run import Progress, questions, run
from safer_training.evaluation.sampling import Sampling
from safer_training.evaluation.store import Store
from safer_training.evaluation.targets.target import Target

_PACKAGES: Mapping[TargetKind, tuple[str, ...]] = {
    "endpoint": ("safer-toolkit", "openai", "pillow"),
    "moderations": ("safer-toolkit", "openai", "pillow"),
    "checkpoint": ("safer-toolkit", "torch", "transformers", "pillow"),
    "baseline": ("safer-toolkit",),
}
"""What replies may hang on, beside the target itself."""


@dataclass(frozen=True)
class Order:
    """What is to be run."""

    suite: str
    title: str
    loaded: Loaded
    sampling: Sampling
    variants: tuple[str, ...]
    limit: int | None = None


async def carry_out(order: Order, target: Target, store: Store, told: Callable[[Progress], None]) -> Progress:
    """Run it, or go on with it.

    Raise `DataError` where the folder holds another run, and `TargetGoneError` where the target is gone; what is done is kept.
    """
    items = some(order.loaded.items, order.limit)
    _check_names(items)
    lines = [listed(item) for item in items]
    begun = store.begin(_manifest(order, target.card, lines), lines)
    with store.open_replies() as replies:
        progress = await run(questions(items, order.variants, order.sampling), target, replies, told)
    if begun.ended is None or progress.asked:
        store.write(begun.model_copy(update={"ended": datetime.now(UTC)}))
    return progress


def _check_names(items: Sequence[Item]) -> None:
    if not items:
        raise DataError("the suite has no items")
    name, times = Counter(item.uid for item in items).most_common(1)[0]
    if times > 1:
        raise DataError(f"{times} items of the suite have the name {name}")


def _manifest(order: Order, card: TargetCard, lines: Sequence[Listed]) -> Manifest:
    return Manifest(
        suite=order.suite,
        title=order.title,
        items=len(lines),
        items_sha256=digest(lines),
        missing=order.loaded.missing,
        target=card,
        sampling=order.sampling,
        variants=order.variants,
        versions={name: version(name) for name in _PACKAGES[card.kind]},
        started=datetime.now(UTC),
    )
