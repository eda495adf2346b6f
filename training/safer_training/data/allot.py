"""Which rows go where: copies removed, groups kept together, decisions balanced."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from safer_protocol.frozen import Frozen
from safer_training.data.near import away_from, without_near_copies
from safer_training.data.records import Part
from safer_training.errors import DataError
from safer_training.rows import Row, Side, group_of, split

MOST_PAIRS = 6
"""Preference pairs that one SFT row can surely give."""
_BALANCE = 0.35
"""A set of n rows is drawn from with weight n to the power of minus this for each row, so that no large set drowns the others."""
_WHOLE_SETS = 0.6
"""Of the held-out part: rows of sets that are held out whole; the others are of groups kept back."""


class Sizes(Frozen):
    """How many rows each part has; the numbers are the paper's."""

    sft: int = 6000
    dpo: int = 18654
    grpo: int = 6000
    held_out: int = 1000


@dataclass(frozen=True)
class Rows:
    """The rows of a pool without copies, split, and how many were removed for which reason."""

    sides: Mapping[Side, Sequence[Row]]
    removed: Mapping[str, int]


def prepare(rows: Sequence[Row]) -> Rows:
    """Remove copies and near copies, split by group, and keep training away from whatever is held out."""
    sides = split(rows)
    left = sum(map(len, sides.values()))
    unlike = {side: without_near_copies(some) for side, some in sides.items()}
    near = left - sum(map(len, unlike.values()))
    train = away_from(unlike["train"], [*unlike["dev"], *unlike["held_out"]])
    removed = {
        "copies": len(rows) - left,
        "near copies": near,
        "close to a held-out row": len(unlike["train"]) - len(train),
    }
    return Rows({**unlike, "train": train}, removed)


def allot(rows: Rows, sizes: Sizes, seed: int) -> dict[Part, list[Row]]:
    """Return the rows of each part that has prompts of its own, best first; what is behind the wanted number is spare.

    Raises `DataError` where the rows do not suffice, with all the numbers.
    """
    rng = Random(seed)
    sft, grpo = _by_group(rows.sides["train"], sizes, rng)
    whole = _drawn(rows.sides["held_out"], rng)
    kept = round(_WHOLE_SETS * sizes.held_out)
    exam = [*whole[:kept], *_drawn(rows.sides["dev"], rng), *whole[kept:]]
    parts: dict[Part, list[Row]] = {"sft": _drawn(sft, rng), "grpo": _drawn(grpo, rng), "held_out": exam}
    wanted = {"sft": sizes.sft, "grpo": sizes.grpo, "held_out": sizes.held_out}
    if any(len(found) < wanted[part] for part, found in parts.items()):
        told = ", ".join(f"{part} {wanted[part]} of {len(found)}" for part, found in parts.items())
        raise DataError(f"too few rows: {told}; import more sources or ask for less")
    if sizes.dpo > MOST_PAIRS * sizes.sft:
        raise DataError(f"{sizes.sft} SFT rows give {MOST_PAIRS * sizes.sft} preference pairs, not {sizes.dpo}")
    return parts


def _by_group(rows: Iterable[Row], sizes: Sizes, rng: Random) -> tuple[list[Row], list[Row]]:
    """Deal whole groups to SFT and GRPO, each to the part that lacks more of its kind."""
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[group_of(row)].append(row)
    names = sorted(groups)
    rng.shuffle(names)
    # Large groups first: small ones can then level what they left uneven.
    names.sort(key=lambda name: -len(groups[name]))
    parts: tuple[list[Row], list[Row]] = ([], [])
    held: tuple[Counter[bool], Counter[bool]] = (Counter(), Counter())
    shares = (max(1, sizes.sft), max(1, sizes.grpo))
    for name in names:
        kinds = Counter(row.refusing for row in groups[name])
        main = kinds.most_common(1)[0][0]
        part = min((0, 1), key=lambda number: held[number][main] / shares[number])
        parts[part].extend(groups[name])
        held[part].update(kinds)
    return parts


def _drawn(rows: Sequence[Row], rng: Random) -> list[Row]:
    """Order rows at random, small sets before their turn, refusing and other ones by turns."""
    sizes = Counter(row.set for row in rows)
    keyed = sorted(((rng.random() ** (sizes[row.set] ** _BALANCE), row) for row in rows), key=lambda pair: -pair[0])
    kinds = [[row for _, row in keyed if row.refusing], [row for _, row in keyed if not row.refusing]]
    both = min(map(len, kinds))
    by_turns = [row for pair in zip(*kinds, strict=False) for row in pair]
    return [*by_turns, *kinds[0][both:], *kinds[1][both:]]
