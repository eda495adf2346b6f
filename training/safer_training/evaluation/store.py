"""The folder of a run while it is run: its manifest, its items, and the replies, each written down as soon as it is there."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from safer_training.errors import DataError
from safer_training.evaluation.lines import Lines
from safer_training.evaluation.listing import Listed
from safer_training.evaluation.manifest import Manifest, differences
from safer_training.evaluation.replies import Reply


@dataclass(frozen=True)
class Store:
    """Where a run is kept."""

    path: Path

    def begin(self, wanted: Manifest, items: Sequence[Listed]) -> Manifest:
        """Begin a run, or go on with one; raise `DataError` that names in what it differs from how it was begun."""
        if self._manifest.is_file():
            begun = self._read()
            found = differences(begun, wanted)
            if found:
                raise DataError(f"{self.path} holds another run: {'; '.join(found)}. Give another --out.")
        elif self.path.exists() and any(self.path.iterdir()):
            raise DataError(f"{self.path} is not empty and holds no run")
        else:
            begun = wanted
            self.path.mkdir(parents=True, exist_ok=True)
            self.write(wanted)
        if not self._items.is_file():
            _write(self._items, "".join(f"{item.model_dump_json()}\n" for item in items))
        return begun

    def write(self, manifest: Manifest) -> None:
        """Write the manifest."""
        _write(self._manifest, manifest.model_dump_json(indent=2) + "\n")

    def open_replies(self) -> Lines[Reply]:
        """Open the replies, to add more."""
        return Lines(self.path / "replies.jsonl", Reply)

    @property
    def _items(self) -> Path:
        return self.path / "items.jsonl"

    @property
    def _manifest(self) -> Path:
        return self.path / "run.json"

    def _read(self) -> Manifest:
        try:
            return Manifest.model_validate_json(self._manifest.read_bytes())
        except ValidationError as error:
            raise DataError(f"{self._manifest} is not the manifest of a run: {error.errors()[0]['msg']}") from error


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, file)
