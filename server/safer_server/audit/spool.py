"""The spool: files of lines on this machine, where every record is before the end of its reply is sent.

`spool/SERVER/` belongs to one server process for as long as it holds the lock in it. Its segments are `0000000000.jsonl` and so on:
the last one is being written, those before it are sealed and wait for the database. A segment is a batch: it is moved at once and
then deleted. What is written survives the death of the process, and with `fsync` that of the machine.
"""

import errno
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from safer_server.audit.locking import try_lock

SEGMENT_RECORDS = 500
SEGMENT_BYTES = 8 * 2**20
"""A segment that has so much is sealed."""

_LOCK = "lock"


@dataclass
class Segment:
    """A file of lines."""

    file: Path
    records: int = 0
    nbytes: int = 0


@dataclass
class Folder:
    """The sealed segments of one process, oldest first, and the lock on them."""

    path: Path
    lock: int
    segments: list[Segment] = field(default_factory=list)

    def close(self) -> None:
        """Give the folder back, and remove it where it is empty."""
        if not self.segments:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


class Spool:
    """Writes the segments of this process; appending and sealing may happen in two threads."""

    def __init__(self, root: Path, server: str, *, fsync: bool) -> None:
        self._fsync = fsync
        self._guard = Lock()
        self._descriptor: int | None = None
        self._open: Segment | None = None
        self._number = 0
        # It gets its name when it is locked, so that nobody finds it without an owner.
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        unnamed = root / f".{server}"
        unnamed.mkdir(mode=0o700)
        (unnamed / _LOCK).touch(mode=0o600)
        lock = try_lock(unnamed / _LOCK)
        if lock is None:
            raise RuntimeError("a new folder is locked")
        self.folder = Folder(unnamed.rename(root / server), lock)

    def append(self, line: bytes) -> None:
        """Write a line; raise OSError, and leave nothing of it, where that cannot be done."""
        with self._guard:
            segment, descriptor = self._segment()
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(segment.file))
                if self._fsync:
                    os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, segment.nbytes)
                raise
            segment.records += 1
            segment.nbytes += len(line)
            if segment.records >= SEGMENT_RECORDS or segment.nbytes >= SEGMENT_BYTES:
                self._seal()

    def seal(self) -> None:
        """End the segment that is being written, if there is something in it."""
        with self._guard:
            self._seal()

    def load(self) -> tuple[int, int]:
        """How many records and bytes of this process wait."""
        with self._guard:
            waiting = [*self.folder.segments, *([self._open] if self._open else ())]
            return sum(one.records for one in waiting), sum(one.nbytes for one in waiting)

    def _seal(self) -> None:
        if self._open is None or self._descriptor is None or not self._open.records:
            return
        os.close(self._descriptor)
        self.folder.segments.append(self._open)
        self._open = self._descriptor = None

    def _segment(self) -> tuple[Segment, int]:
        if self._open is None or self._descriptor is None:
            file = self.folder.path / f"{self._number:010}.jsonl"
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            self._descriptor, self._open = os.open(file, flags, 0o600), Segment(file)
            self._number += 1
            if self._fsync:
                _fsync_folder(self.folder.path)
        return self._open, self._descriptor

    def close(self) -> None:
        """Seal the last segment and give the folder back."""
        with self._guard:
            self._seal()
            if self._descriptor is not None:
                os.close(self._descriptor)
        self.folder.close()


def adopt(root: Path) -> list[Folder]:
    """Take over the folders whose process is dead; two processes that do so at once get different ones."""
    adopted = []
    for path in sorted(root.glob("[!.]*")):
        lock = try_lock(path / _LOCK)
        if lock is not None:
            folder = Folder(path, lock)
            for file in sorted(path.glob("*.jsonl")):
                content = file.read_bytes()
                folder.segments.append(Segment(file, content.count(b"\n"), len(content)))
            adopted.append(folder)
    return adopted


def _fsync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
