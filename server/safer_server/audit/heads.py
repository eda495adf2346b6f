"""How far each chain of this machine has come in the database: kept beside the keys, so that a missing end is noticed there."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Heads:
    """A file for each server process, which holds the last number."""

    folder: Path

    def note(self, server: str, sequence: int) -> None:
        """Remember that everything up to a number is in the database."""
        self.folder.mkdir(exist_ok=True, mode=0o700)
        new = self.folder / f".{server}"
        new.write_text(f"{sequence}\n", encoding="ascii")
        new.replace(self.folder / server)

    def read(self) -> dict[str, int]:
        """By server process, the number that its chain must reach at least."""
        return {file.name: int(file.read_text(encoding="ascii")) for file in sorted(self.folder.glob("[!.]*"))}
