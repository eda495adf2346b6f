"""Rows of facts: reading them, removing near copies, and the split that keeps a group on one side."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from safer_protocol.decision import Decision
from safer_training.errors import DataError

HELD_OUT = frozenset(
    (
        *("xstest", "figstep", "jbb_benign", "jbb_harmful"),
        *("beavertails_v_evaluation", "spa_vl_test", "mm_safetybench", "vlguard_test"),
    )
)
"""Sets that are never trained on."""
DEV_SHARE = 11
"""Per cent of the groups of the other sets that are kept for development."""

_SHINGLE = 6
_MOST_SHARED = 0.4
_GROUP_BY_UID = frozenset({"catqa", "harmfulqa"})
_GROUP_BY_CATEGORY = frozenset({"aart", "clinc"})


class Row(BaseModel):
    """One request with the decisions that count as right; `group` names rows that must not be split up."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    uid: str
    set: str
    prompt: str | None
    image: str | None = None
    category: str | None = None
    expected: tuple[Decision, ...]
    answer: str | None = None
    facts: dict[str, str | int | list[str]] = {}
    group: str | None = None
    licence: str = "unknown"
    pictured: str | None = None
    """The text that the picture shows where that is the request; None for a photo."""

    @property
    def text(self) -> str:
        """The request; a row of a picture alone has none."""
        return self.prompt or ""

    @property
    def refusing(self) -> bool:
        """Whether allowing the request would be wrong."""
        return Decision.ALLOW not in self.expected


Side = Literal["train", "dev", "held_out"]


def read_rows(path: Path) -> list[Row]:
    """Read a JSONL file of rows; raise `DataError` with the line that cannot be read."""
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            rows.append(Row.model_validate_json(line))
        except ValidationError as error:
            raise DataError(f"{path}:{number}: {error.errors()[0]['msg']}") from error
    return rows


def group_of(row: Row) -> str:
    """Name the group of a row: its source's topic where the source wrote rows by topic, else its first 40 characters."""
    if row.group is not None:
        return f"{row.set}:{row.group}"
    if row.set in _GROUP_BY_UID:
        return row.uid.rsplit("/", 1)[0]
    if row.set in _GROUP_BY_CATEGORY:
        return f"{row.set}:{row.category}"
    return f"{row.set}:{words(row.text)[:40]}"


def side_of(row: Row) -> Side:
    """Say where a row belongs; depends on its group alone, so added rows move no others."""
    if row.set in HELD_OUT:
        return "held_out"
    return "dev" if _bucket(group_of(row)) < DEV_SHARE else "train"


def split(rows: Iterable[Row]) -> dict[Side, list[Row]]:
    """Remove near copies and split; whatever is close to a held-out row is in neither of the other sides."""
    sides: dict[Side, list[Row]] = {"train": [], "dev": [], "held_out": []}
    for row in without_copies(rows):
        sides[side_of(row)].append(row)
    guarded = {shingle for row in sides["held_out"] for shingle in _shingles(row.text)}
    exams = {words(row.text) for row in sides["held_out"]}
    for side in ("train", "dev"):
        sides[side] = [row for row in sides[side] if not _is_close(row.text, guarded, exams)]
    exams = {words(row.text) for row in sides["dev"]}
    sides["train"] = [row for row in sides["train"] if row.image or words(row.text) not in exams]
    return sides


def without_copies(rows: Iterable[Row]) -> list[Row]:
    """Drop text rows whose words, case and punctuation aside, occurred before in the same set."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for row in rows:
        key = (row.set if row.set in HELD_OUT else "", words(row.text))
        if row.image is None and key in seen:
            continue
        seen.add(key)
        kept.append(row)
    return kept


def digest(rows: Sequence[BaseModel]) -> str:
    """SHA-256 of the rows, whatever their order."""
    lines = sorted(json.dumps(row.model_dump(mode="json"), sort_keys=True) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _is_close(text: str, guarded: set[str], exams: set[str]) -> bool:
    if words(text) in exams:
        return True
    shingles = _shingles(text)
    return bool(shingles) and len(shingles & guarded) > _MOST_SHARED * len(shingles)


def words(text: str) -> str:
    """Return the words of a text in lower case, without punctuation."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def _shingles(text: str) -> set[str]:
    parts = words(text).split()
    return {" ".join(parts[start : start + _SHINGLE]) for start in range(len(parts) - _SHINGLE + 1)}


def _bucket(group: str) -> int:
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") % 100
