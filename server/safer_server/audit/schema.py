"""The tables. Beside the record and receipt as they were signed, the columns that the log can be searched by are copies of both."""

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text, UniqueConstraint

from safer_server.audit.entry import Entry, MalformedError

metadata = MetaData()

records = Table(
    "records",
    metadata,
    Column("trace_id", Text, primary_key=True),
    Column("time", Text, nullable=False),
    Column("server", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("caller", Text),
    Column("endpoint", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("decision", Text),
    Column("category", Text),
    Column("tools", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("receipt", Text, nullable=False),
    Column("record", Text, nullable=False),
    UniqueConstraint("server", "sequence", name="records_chain"),
    Index("records_time", "time", "trace_id"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("server", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("tombstone", Text, nullable=False),
)

SUMMARY = [column for column in records.columns if column.name not in ("size", "receipt", "record")]
"""What a list shows."""


def row_of(entry: Entry) -> dict[str, Any]:
    """Make the row of an entry; raise `MalformedError` where something is missing in it."""
    record, receipt = json.loads(entry.record), json.loads(entry.receipt)
    same = ("trace_id", "time", "server", "request_id", "caller", "endpoint", "policy", "outcome", "decision")
    try:
        return {
            **{name: record[name] for name in same},
            "sequence": receipt["sequence"],
            "category": next(iter(record["categories"]), None),
            "tools": tools_text(record["tools"]),
            "size": len(entry.receipt) + len(entry.record),
            "receipt": entry.receipt.decode(),
            "record": entry.record.decode(),
        }
    except (KeyError, TypeError):
        raise MalformedError from None


def tools_text(tools: Iterable[str]) -> str:
    """Write the tools that were called so that one of them can be looked for."""
    return "".join(f" {tool}" for tool in sorted(set(tools))) + " "


def tools_of(text: str) -> tuple[str, ...]:
    """Read them back."""
    return tuple(text.split())
