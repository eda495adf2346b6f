"""What is written to the database, and read from it."""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, and_, func, or_, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from safer_protocol.receipt import Tombstone
from safer_server.audit.entry import Entry
from safer_server.audit.schema import SUMMARY, records, tombstones

TRACE_ID = re.compile(r"tr_[0-9a-f]{32}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_CHUNK = 200


@dataclass(frozen=True)
class Cursor:
    """The place after a record, newest first."""

    time: str
    trace_id: str

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.time} {self.trace_id}".encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Read a cursor; raise ValueError."""
        try:
            decoded = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True).decode()
        except ValueError:
            raise ValueError("Not a cursor") from None
        time, _, trace_id = decoded.partition(" ")
        if not _TIME.fullmatch(time) or not TRACE_ID.fullmatch(trace_id) or str(cls(time, trace_id)) != text:
            raise ValueError("Not a cursor")
        return cls(time, trace_id)


@dataclass(frozen=True)
class Filter:
    """Which records are wanted; `equal` is by the names of columns, `since` is inclusive, `until` is not."""

    equal: Mapping[str, str]
    tool: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def apply(self, query: Select[Any]) -> Select[Any]:
        """Narrow a query."""
        query = query.where(*(records.c[name] == value for name, value in self.equal.items()))
        if self.tool is not None:
            query = query.where(records.c.tools.contains(f" {self.tool} ", autoescape=True))
        if self.since is not None:
            query = query.where(records.c.time >= timestamp(self.since))
        if self.until is not None:
            query = query.where(records.c.time < timestamp(self.until))
        return query


ALL = Filter({})


def timestamp(time: datetime) -> str:
    """Write a time as records have it; `time` must know its zone."""
    offset = time.utcoffset()
    if offset is None:
        raise ValueError("a time without its zone")
    return f"{time.replace(tzinfo=None) - offset:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


class Store:
    """The audit log in a database. Every method may raise SQLAlchemy's errors."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def insert(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a batch, whole or not at all; what is there already stays as it is."""
        dialect: Any = sqlite if self.engine.dialect.name == "sqlite" else postgresql
        statement = dialect.insert(records).on_conflict_do_nothing(index_elements=["trace_id"])
        with self.engine.begin() as connection:
            connection.execute(statement, rows)

    def page(self, wanted: Filter, after: Cursor | None, limit: int) -> list[RowMapping]:
        """Read summaries, newest first."""
        query = wanted.apply(select(*SUMMARY))
        if after is not None:
            place = tuple_(records.c.time, records.c.trace_id)
            query = query.where(place < (after.time, after.trace_id))
        query = query.order_by(records.c.time.desc(), records.c.trace_id.desc()).limit(limit)
        with self.engine.connect() as connection:
            return list(connection.execute(query).mappings())

    def find(self, trace_id: str) -> Entry | None:
        """Read one entry."""
        query = select(records.c.receipt, records.c.record).where(records.c.trace_id == trace_id)
        with self.engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else Entry(row.receipt.encode(), row.record.encode())

    @contextmanager
    def snapshot(self) -> Iterator["Snapshot"]:
        """Read the log as it stands at this moment, whatever is written or removed meanwhile."""
        with self.engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield Snapshot(connection)

    def oldest(self, before: str | None, over: int | None) -> dict[str, int]:
        """For each chain, the last number of what is older than a time, or beyond so many bytes of newer records."""
        conditions = []
        if before is not None:
            conditions.append(records.c.time < before)
        if over is not None:
            newer = func.sum(records.c.size).over(
                order_by=(records.c.time.desc(), records.c.sequence.desc(), records.c.server)
            )
            sizes = select(records.c.trace_id, newer.label("total")).subquery()
            beyond = select(sizes.c.trace_id).where(sizes.c.total > over)
            conditions.append(records.c.trace_id.in_(beyond))
        if not conditions:
            return {}
        query = select(records.c.server, func.max(records.c.sequence)).where(or_(*conditions))
        with self.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query.group_by(records.c.server))}

    def receipt_at(self, server: str, sequence: int) -> str | None:
        """Read the receipt at a place of a chain."""
        query = select(records.c.receipt).where(and_(records.c.server == server, records.c.sequence == sequence))
        with self.engine.connect() as connection:
            return connection.execute(query).scalar_one_or_none()

    def bury(self, tombstone: Tombstone) -> int:
        """Remove a chain's records up to a tombstone and set that in their place; return how many."""
        values = {"server": tombstone.server, "sequence": tombstone.sequence, "tombstone": tombstone.model_dump_json()}
        dialect: Any = sqlite if self.engine.dialect.name == "sqlite" else postgresql
        insert = dialect.insert(tombstones).values(values)
        newer = insert.on_conflict_do_update(
            index_elements=["server"], set_=values, where=tombstones.c.sequence < tombstone.sequence
        )
        gone = and_(records.c.server == tombstone.server, records.c.sequence <= tombstone.sequence)
        with self.engine.begin() as connection:
            connection.execute(newer)
            return connection.execute(records.delete().where(gone)).rowcount


@dataclass(frozen=True)
class Snapshot:
    """The whole log at one moment."""

    connection: Connection

    def count(self, wanted: Filter = ALL) -> int:
        """Count records."""
        query = wanted.apply(select(func.count()).select_from(records))
        counted: int = self.connection.execute(query).scalar_one()
        return counted

    def tombstones(self) -> list[str]:
        """Read all tombstones, as JSON."""
        query = select(tombstones.c.tombstone).order_by(tombstones.c.server)
        return list(self.connection.execute(query).scalars())

    def rows(self, wanted: Filter = ALL) -> Iterator[RowMapping]:
        """Read whole rows, chain by chain and each in its order, without holding them all."""
        query = wanted.apply(select(records)).order_by(records.c.server, records.c.sequence)
        yield from self.connection.execute(query, execution_options={"yield_per": _CHUNK}).mappings()
