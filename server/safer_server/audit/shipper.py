"""The shipper: a thread that moves sealed segments from the spool into the database, and tries again while that is away."""

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from safer_server.audit.database import migrate
from safer_server.audit.entry import Entry, MalformedError
from safer_server.audit.heads import Heads
from safer_server.audit.meters import Meters
from safer_server.audit.schema import row_of
from safer_server.audit.spool import Folder, Segment, Spool
from safer_server.audit.store import Store

logger = logging.getLogger(__name__)

INTERVAL = 0.2
"""Seconds between two batches."""
LONGEST_PAUSE = 5.0
"""Seconds between two attempts while the database is away, at most."""
UNREADABLE = "unreadable"


class Shipper:
    """Moves what the spool has and what dead processes left; `tend` is run after each round, with the database at hand."""

    def __init__(
        self,
        spool: Spool,
        left: list[Folder],
        store: Store,
        heads: Heads,
        meters: Meters,
        tend: Callable[[], None],
    ) -> None:
        self._spool = spool
        self._left = left
        self._store = store
        self._heads = heads
        self._meters = meters
        self._tend = tend
        self._stop = Event()
        self._is_up: bool | None = None
        self._is_migrated = False
        self._tried = Event()
        self._thread = Thread(target=self._run, name="audit-shipper", daemon=True)

    def start(self) -> None:
        """Begin, and return when the tables are there or the database has been found away."""
        self.show_load()
        self._thread.start()
        self._tried.wait()

    def stop(self) -> None:
        """Move what there is, if the database takes it, and end; what is left stays in the spool for the next start."""
        self._stop.set()
        self._thread.join()
        for folder in self._left:
            folder.close()

    def load(self) -> tuple[int, int]:
        """How many records and bytes wait."""
        records, nbytes = self._spool.load()
        left = [segment for folder in self._left for segment in folder.segments]
        return records + sum(one.records for one in left), nbytes + sum(one.nbytes for one in left)

    def show_load(self) -> None:
        """Put what waits into the metrics."""
        records, nbytes = self.load()
        self._meters.spool_records.set(records)
        self._meters.spool_bytes.set(nbytes)

    def _run(self) -> None:
        pause = 0.0
        while True:
            stopping = self._stop.wait(pause)
            try:
                self._round()
            except (SQLAlchemyError, OSError) as error:
                self._note(up=False, why=str(error).partition("\n")[0])
                pause = min(max(INTERVAL, 2 * pause), LONGEST_PAUSE)
            except Exception:
                # The edge of the thread: without it records would only pile up, and nobody would be told why.
                logger.exception("audit: the shipper failed")
                self._note(up=False, why="an error of the server's own")
                pause = LONGEST_PAUSE
            else:
                self._note(up=True)
                pause = INTERVAL
            self.show_load()
            if stopping:
                return

    def _round(self) -> None:
        if not self._is_migrated:
            try:
                migrate(self._store.engine)
            finally:
                self._tried.set()
            self._is_migrated = True
        for folder in list(self._left):
            self._ship(folder)
            folder.close()
            self._left.remove(folder)
        # The segment that is being written is sealed only now that it can be moved at once.
        self._ship(self._spool.folder)
        self._spool.seal()
        self._ship(self._spool.folder)
        self._tend()

    def _ship(self, folder: Folder) -> None:
        while folder.segments:
            segment = folder.segments[0]
            with self._meters.ship_seconds.time():
                self._move(segment)
            folder.segments.pop(0)

    def _move(self, segment: Segment) -> None:
        """Write a segment to the database and delete it; after a crash in between it is written again, which changes nothing."""
        rows, unreadable = _read(segment.file)
        if rows:
            self._store.insert(rows)
            self._heads.note(rows[-1]["server"], rows[-1]["sequence"])
        if unreadable:
            kept = segment.file.parents[2] / UNREADABLE
            kept.mkdir(exist_ok=True, mode=0o700)
            segment.file.rename(kept / f"{segment.file.parent.name}-{segment.file.name}")
            self._meters.dropped.inc(unreadable)
            logger.error("audit: %d lines of the spool cannot be read; they are kept in %s", unreadable, kept)
        else:
            segment.file.unlink()
        segment.records = segment.nbytes = 0

    def _note(self, *, up: bool, why: str = "") -> None:
        self._meters.up.set(up)
        if up is not self._is_up:
            if not up:
                logger.error("audit: the database takes no records, which wait in the spool: %s", why)
            elif self._is_up is False:
                logger.info("audit: the database takes records again")
            self._is_up = up


def _read(file: Path) -> tuple[list[dict[str, Any]], int]:
    """Read a segment as rows; a line that was cut off by the death of its process, or damaged, is counted."""
    rows, unreadable = [], 0
    *lines, torn = file.read_bytes().split(b"\n")
    for line in lines:
        try:
            rows.append(row_of(Entry.of_line(line)))
        except MalformedError:
            unreadable += 1
    return rows, unreadable + bool(torn)
