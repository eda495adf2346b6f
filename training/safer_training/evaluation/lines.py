"""JSONL files that only grow: a line is appended and flushed as soon as there is something to say, and never changed.

A process may be killed while it writes. What stands behind the last newline is such a torn line: it was never said.
"""

import fcntl
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from pydantic import BaseModel, ValidationError

from safer_training.errors import DataError

AnyLine = TypeVar("AnyLine", bound=BaseModel)


def read_lines(file: Path, kind: type[AnyLine]) -> list[AnyLine]:
    """Read all whole lines, none where there is no file; raise `DataError` with the line that cannot be read."""
    whole = file.read_bytes().rpartition(b"\n")[0] if file.is_file() else b""
    rows = []
    for number, line in enumerate(whole.split(b"\n") if whole else (), 1):
        try:
            rows.append(kind.model_validate_json(line))
        except ValidationError as error:
            raise DataError(f"{file}:{number}: {error.errors()[0]['msg']}") from error
    return rows


class Lines(Generic[AnyLine]):
    """A file to go on with: the rows that it held, and `add`; one process at a time may have it open."""

    def __init__(self, file: Path, kind: type[AnyLine]) -> None:
        """Take the file, without a torn line; raise `DataError` where another process has it or it cannot be read."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("a+b")
        try:
            self.found = self._take(file, kind)
        except BaseException:
            self._file.close()
            raise

    def _take(self, file: Path, kind: type[AnyLine]) -> list[AnyLine]:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"{file}: another process is writing it") from error
        rows = read_lines(file, kind)
        self._file.truncate(file.read_bytes().rfind(b"\n") + 1)
        return rows

    def add(self, row: AnyLine) -> None:
        """Append a row and hand it to the system."""
        self._file.write(row.model_dump_json().encode() + b"\n")
        self._file.flush()

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file, and let others have it."""
        self._file.close()
