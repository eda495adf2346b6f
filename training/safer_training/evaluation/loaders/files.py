"""Reading what was downloaded, as far as it is there: a file that is missing or cut off is written down, and the rest is read."""

import base64
import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Any

from safer_training.errors import DataError
from safer_training.evaluation.loaders.layout import Gathering

_POINTER = b"version https://git-lfs"
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(.*)")
_LONGEST_FIELD = 10_000_000
"""Characters: pictures stand in some tables as base64."""

Numbered = Iterator[tuple[int, Mapping[str, Any]]]


def find(gathering: Gathering, pattern: str) -> list[Path]:
    """Return the files of a pattern anywhere below the folder, by name; those that a number of parts promises are missed."""
    found = sorted(path for path in gathering.folder.rglob(pattern) if path.is_file())
    parts: dict[tuple[Path, str, str], int] = {}
    for path in found:
        if shard := _SHARD.fullmatch(path.name):
            parts[path.parent, shard[1], shard[3]] = int(shard[3])
    for (parent, stem, total), number in parts.items():
        for part in range(number):
            if not any(
                path.name.startswith(f"{stem}-{part:05d}-of-{total}") for path in found if path.parent == parent
            ):
                gathering.miss(f"{gathering.name(parent)}/{stem}-{part:05d}-of-{total} is missing")
    return found


def read_entries(gathering: Gathering, file: Path) -> Mapping[str, Any]:
    """Return the object that a JSON file holds; an empty one where it is missing or cut off."""
    found = _json(gathering, file, {})
    if not isinstance(found, dict):
        raise DataError(f"{file}: not an object")
    return found


def read_rows(gathering: Gathering, file: Path, needed: Sequence[str] = (), kind: str | None = None) -> Numbered:
    """Yield the rows of a table, numbered from 1; raise `DataError` where columns are missing.

    What kind of a table it is, is said by its name where it is not given.
    """
    match kind or file.name.removesuffix(".gz").rpartition(".")[2]:
        case "parquet":
            rows = _parquet(gathering, file, needed)
        case "jsonl":
            rows = _json_lines(gathering, file)
        case "json":
            rows = _json_list(gathering, file)
        case "csv":
            rows = _separated(gathering, file, ",")
        case "tsv":
            rows = _separated(gathering, file, "\t")
        case _:
            raise DataError(f"{file}: the name of a table ends with parquet, jsonl, json, csv or tsv, or .gz after it")
    for number, row in rows:
        absent = [column for column in needed if column not in row]
        if absent:
            raise DataError(f"{file}:{number}: no column {', '.join(absent)}; there are {', '.join(map(str, row))}")
        yield number, row


def picture(cell: Any) -> bytes:
    """Return the picture in a cell of a table: bytes, a mapping that holds them, or base64; raise `ValueError`."""
    if isinstance(cell, Mapping):
        cell = cell.get("bytes")
    if isinstance(cell, str):
        cell = base64.b64decode(cell, validate=True)
    if not isinstance(cell, bytes) or not cell:
        raise ValueError("no picture")
    return cell


def _json(gathering: Gathering, file: Path, otherwise: Any) -> Any:
    if not file.is_file():
        gathering.miss(f"{gathering.name(file)} is missing")
        return otherwise
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        gathering.miss(_broken(gathering, file))
        return otherwise


def _parquet(gathering: Gathering, file: Path, needed: Sequence[str]) -> Numbered:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        table = pq.ParquetFile(file)
        if table.metadata.num_rows and not set(needed) <= set(table.schema_arrow.names):
            absent = ", ".join(sorted(set(needed) - set(table.schema_arrow.names)))
            raise DataError(f"{file} has no column {absent}")
        for batch in table.iter_batches(batch_size=64):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError):
        gathering.miss(_broken(gathering, file, number))


def _json_lines(gathering: Gathering, file: Path) -> Numbered:
    number = 0
    try:
        with _text(file) as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line) if line.strip() else {}
                except ValueError:
                    gathering.miss(f"{gathering.name(file)}: line {number} is not JSON")
                    continue
                if isinstance(row, dict) and row:
                    yield number, row
                elif line.strip():
                    gathering.miss(f"{gathering.name(file)}: line {number} is not an object")
    except (EOFError, OSError, UnicodeDecodeError, zlib.error):
        gathering.miss(_broken(gathering, file, number))


def _json_list(gathering: Gathering, file: Path) -> Numbered:
    found = _json(gathering, file, [])
    if not isinstance(found, list):
        raise DataError(f"{file}: not a list of objects")
    for number, row in enumerate(found, 1):
        if isinstance(row, dict):
            yield number, row
        else:
            gathering.miss(f"{gathering.name(file)}: entry {number} is not an object")


def _separated(gathering: Gathering, file: Path, delimiter: str) -> Numbered:
    csv.field_size_limit(_LONGEST_FIELD)
    number = 0
    try:
        with _text(file) as lines:
            for number, row in enumerate(csv.DictReader(lines, delimiter=delimiter), 1):
                yield number, {key: value for key, value in row.items() if key is not None}
    except (EOFError, OSError, UnicodeDecodeError, zlib.error, csv.Error):
        gathering.miss(_broken(gathering, file, number))


def _text(file: Path) -> IO[str]:
    if file.suffix == ".gz":
        return TextIOWrapper(gzip.open(file, "rb"), encoding="utf-8", newline="")
    return file.open(encoding="utf-8", newline="")


def _broken(gathering: Gathering, file: Path, after: int = 0) -> str:
    """Say what is wrong with a file that cannot be read on."""
    with file.open("rb") as content:
        if content.read(len(_POINTER)) == _POINTER:
            return f"{gathering.name(file)} is a Git LFS pointer, not the file it stands for"
    return f"{gathering.name(file)} is cut off or broken" + (f" after row {after}" if after else "")
