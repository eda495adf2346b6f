"""Any JSONL file whose columns a user names."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from safer_protocol.categories import CATEGORY_WORDS
from safer_protocol.decision import Decision
from safer_protocol.frozen import Frozen
from safer_training.data.layouts import Found
from safer_training.errors import DataError
from safer_training.rows import Row


class Columns(Frozen):
    """Which column holds what, and which decisions each label stands for."""

    name: str
    licence: str
    prompt: str = "prompt"
    label: str | None = None
    """None: every row has the one label `*`."""
    labels: dict[str, tuple[Decision, ...]]
    image: str | None = None
    category: str | None = None
    group: str | None = None
    answer: str | None = None


def read_map(file: Path) -> Columns:
    """Read a map of columns; raise `DataError`."""
    if not file.is_file():
        raise DataError(f"no such file: {file}")
    try:
        return Columns.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise DataError(f"{file}: {error}") from error


def read_columns(file: Path, columns: Columns) -> Iterator[Found]:
    """Read a file; pictures are paths beside it. Every label and category must be known."""
    if not file.is_file():
        raise DataError(f"no such file: {file}")
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            yield _found(file, number, _record(line, f"{file}:{number}"), columns)


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: not an object")
    return record


def _found(file: Path, number: int, record: dict[str, Any], columns: Columns) -> Found:
    where = f"{file}:{number}"

    def value(column: str | None) -> str | None:
        if column is None:
            return None
        if column not in record:
            raise DataError(f"{where}: no column {column!r}; there are {', '.join(sorted(record))}")
        return None if record[column] is None else str(record[column])

    prompt, image = value(columns.prompt), value(columns.image)
    if not prompt:
        raise DataError(f"{where}: {columns.prompt!r} is empty")
    label = "*" if columns.label is None else str(value(columns.label))
    if label not in columns.labels:
        raise DataError(f"{where}: unknown label {label!r}; known are {', '.join(sorted(columns.labels))}")
    category = value(columns.category)
    if category is not None and category not in CATEGORY_WORDS:
        raise DataError(f"{where}: unknown category {category!r}; known are {', '.join(CATEGORY_WORDS)}")
    row = Row(
        uid=f"{columns.name}:{number}",
        set=columns.name,
        prompt=prompt,
        category=category,
        expected=columns.labels[label],
        answer=value(columns.answer),
        group=value(columns.group),
        licence=columns.licence,
    )
    return Found(row, None if image is None else file.parent / image)
