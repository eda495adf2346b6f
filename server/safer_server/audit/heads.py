"""How far each chain of this machine has come in the database: kept beside the keys, so that a missing end is noticed there."""

import json
from dataclasses import dataclass
from pathlib import Path

from safer_server.audit.entry import Entry


@dataclass(frozen=True)
class Heads:
    """A file for each server process, which holds the last number."""

    folder: Path

    def note(self, last: Entry) -> None:
        """Remember that everything up to an entry is in the database."""
        receipt = json.loads(last.receipt)
        self.folder.mkdir(exist_ok=True, mode=0o700)
        new = self.folder / f".{receipt['server']}"
        new.write_text(f"{receipt['sequence']}\n", encoding="ascii")
        new.replace(self.folder / receipt["server"])

    def read(self) -> dict[str, int]:
        """By server process, the number that its chain must reach at least."""
        return {file.name: int(file.read_text(encoding="ascii")) for file in sorted(self.folder.glob("[!.]*"))}
