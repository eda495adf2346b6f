"""Exports: JSON lines, which can be verified like the database, or Parquet for analysis."""

import json
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import IO, Any

from sqlalchemy import RowMapping

from safer_server.audit.entry import Entry
from safer_server.audit.schema import records, tools_of

_GROUP = 1000
Tell = Callable[[int], None]
"""Is told how many records have been written."""


def write_jsonl(rows: Iterable[RowMapping], tombstones: Iterable[str], out: IO[bytes], tell: Tell) -> None:
    """Write tombstones, then an entry a line."""
    for text in tombstones:
        out.write(json.dumps({"tombstone": json.loads(text)}, separators=(",", ":")).encode() + b"\n")
    for number, row in enumerate(rows, 1):
        out.write(entry_of(row).line)
        tell(number)


def write_parquet(rows: Iterable[RowMapping], out: Path, tell: Tell) -> None:
    """Write the columns of the database, tools as lists."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: dict[str, Any] = {"sequence": pa.int64(), "size": pa.int64(), "tools": pa.list_(pa.string())}
    schema = pa.schema([(column.name, kinds.get(column.name, pa.string())) for column in records.columns])
    done, left = 0, iter(rows)
    with pq.ParquetWriter(out, schema) as writer:
        while group := list(islice(left, _GROUP)):
            values = [{**row, "tools": tools_of(row["tools"])} for row in group]
            writer.write_table(pa.Table.from_pylist(values, schema))
            done += len(values)
            tell(done)


def entry_of(row: RowMapping) -> Entry:
    """Take the entry out of a row."""
    return Entry(row["receipt"].encode(), row["record"].encode())
