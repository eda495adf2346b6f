"""The journal of a build: what teacher and judge have said of each task, so that no work is done twice."""

import hashlib
from pathlib import Path
from threading import Lock

from pydantic import ValidationError

from safer_protocol.frozen import Frozen
from safer_training.data.teachers import Taught


class _Entry(Frozen):
    key: str
    reply: str | None
    fault: str | None


class Journal:
    """Appends a line for each finished task; a line that was cut short by a crash is left out when it is read."""

    def __init__(self, file: Path) -> None:
        """Read what an earlier build has left."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._entries: dict[str, Taught] = {}
        self._lock = Lock()
        content = file.read_bytes() if file.is_file() else b""
        for line in content.splitlines():
            try:
                entry = _Entry.model_validate_json(line)
            except ValidationError:
                continue
            self._entries[entry.key] = Taught(entry.reply, entry.fault)
        self._lines = file.open("a", encoding="utf-8")
        if content and not content.endswith(b"\n"):
            self._lines.write("\n")

    def __len__(self) -> int:
        """Return the number of finished tasks."""
        return len(self._entries)

    def found(self, key: str) -> Taught | None:
        """Return what was said of a task."""
        return self._entries.get(key)

    def add(self, key: str, taught: Taught) -> None:
        """Keep what was said of a task."""
        entry = _Entry(key=key, reply=taught.reply, fault=taught.fault)
        with self._lock:
            self._entries[key] = taught
            self._lines.write(entry.model_dump_json() + "\n")
            self._lines.flush()

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def task_key(*parts: str) -> str:
    """Name a task by all that its outcome depends on."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
