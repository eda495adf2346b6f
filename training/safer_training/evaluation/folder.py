"""The folder of a run as judges and reports read it: what was asked, what was replied, and what judges said of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from safer_training.errors import DataError
from safer_training.evaluation.judging.scores import Scored
from safer_training.evaluation.lines import read_lines
from safer_training.evaluation.listing import Listed
from safer_training.evaluation.manifest import Manifest
from safer_training.evaluation.replies import PLAIN, Reply

MANIFEST_FILE, ITEMS_FILE, REPLIES_FILE, SCORES_FOLDER = "run.json", "items.jsonl", "replies.jsonl", "scores"

Key = tuple[str, str]
"""An item's uid and a variant."""
AnyRow = TypeVar("AnyRow", Reply, Scored)


@dataclass(frozen=True)
class Run:
    """A run as its folder holds it."""

    folder: Path
    manifest: Manifest
    items: tuple[Listed, ...]
    replies: Mapping[Key, Reply]
    scores: Mapping[str, Mapping[Key, Scored]] = field(default_factory=dict)
    """By the name of the judge."""
    spent: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Tokens in and out by the name of the judge, for lines that later ones replace, too."""

    @cached_property
    def variants(self) -> tuple[str, ...]:
        """The variants that were asked, without the plain one."""
        return tuple(sorted({variant for _, variant in self.replies} - {PLAIN}))

    def reply(self, uid: str, variant: str = PLAIN) -> Reply | None:
        """Return the reply to an item; None where it was not asked, or where there is only an error."""
        found = self.replies.get((uid, variant))
        return None if found is None or found.error is not None else found


def read_run(folder: Path) -> Run:
    """Read a run; raise `DataError` with file and line where it cannot be read."""
    for name in (MANIFEST_FILE, ITEMS_FILE):
        if not (folder / name).is_file():
            raise DataError(f"no such file: {folder / name}; is this the folder of a run?")
    manifest = _manifest(folder / MANIFEST_FILE)
    items = tuple(read_lines(folder / ITEMS_FILE, Listed))
    if len({item.uid for item in items}) != manifest.items:
        raise DataError(f"{folder / ITEMS_FILE} has not the {manifest.items} items that {MANIFEST_FILE} speaks of")
    said = {file.stem: read_lines(file, Scored) for file in sorted((folder / SCORES_FOLDER).glob("*.jsonl"))}
    return Run(
        folder,
        manifest,
        items,
        _last(read_lines(folder / REPLIES_FILE, Reply)),
        {name: _last(lines) for name, lines in said.items()},
        {name: _spent(lines) for name, lines in said.items()},
    )


def _manifest(path: Path) -> Manifest:
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f"{path}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    detail = error.errors()[0]
    return f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"


def _last(rows: Iterable[AnyRow]) -> dict[Key, AnyRow]:
    """Keep the last row of each item and variant: a later one was asked again."""
    return {(row.uid, row.variant): row for row in rows}


def _spent(lines: Sequence[Scored]) -> tuple[int, int]:
    return sum(line.prompt_tokens for line in lines), sum(line.completion_tokens for line in lines)
