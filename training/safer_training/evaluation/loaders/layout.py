"""A layout of downloads, and what of it is gathered while it is read."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image

from safer_protocol.frozen import Frozen
from safer_training.data.records import ImageContent, Message
from safer_training.errors import DataError
from safer_training.evaluation.item import Item, Loaded


class Layout(Frozen, ABC):
    """How a folder is laid out; the fields are what a suite file may set under `options`."""

    @abstractmethod
    def load(self, folder: Path) -> Loaded:
        """Read the folder; raise `DataError` where it is not laid out so at all."""


class Gathering:
    """Items as they are found. What is missing or broken is written down and left out, never passed over."""

    def __init__(self, folder: Path) -> None:
        """Begin with a folder; names of files are told below it."""
        self.folder = folder
        self._items: dict[str, Item] = {}
        self._missing: list[str] = []
        self._pictures: dict[str, bytes] = {}
        self._faults: dict[Path | bytes, str | None] = {}

    def add(self, item: Item) -> None:
        """Take an item whose pictures are whole; raise `DataError` for a name that is taken."""
        if item.uid in self._items:
            raise DataError(f"{self.folder}: two items are named {item.uid}")
        places = sum(isinstance(part, ImageContent) for message in item.prompt for part in message.content)
        if places != len(item.images):
            self.miss(f"{item.uid}: {len(item.images)} pictures for {places} places")
            return
        for picture in item.images:
            if picture not in self._faults:
                self._faults[picture] = self._fault(picture)
            if fault := self._faults[picture]:
                self.miss(f"{item.uid}: {fault}")
                return
        self._items[item.uid] = item

    def miss(self, what: str) -> None:
        """Write down what is not there."""
        self._missing.append(what)

    @contextmanager
    def entry(self, where: str) -> Iterator[None]:
        """Write down an entry that lacks something or cannot be understood, and go on with the next."""
        try:
            yield
        except KeyError as error:
            self.miss(f"{where}: no {error}")
        except (ValueError, SyntaxError) as error:
            self.miss(f"{where}: {str(error).splitlines()[0]}")

    def shared(self, content: bytes) -> bytes:
        """Return one copy of equal pictures, for tables that repeat them with every question."""
        return self._pictures.setdefault(hashlib.sha256(content).hexdigest(), content)

    def name(self, path: Path) -> str:
        """Name a path below the folder."""
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else str(path)

    def loaded(self, wanted: str) -> Loaded:
        """Return all that was gathered; raise `DataError` where that is nothing."""
        if not self._items:
            found = f"; {self._missing[0]}" if self._missing else ""
            raise DataError(f"no {wanted} in {self.folder}: is this the folder as it was downloaded?{found}")
        return Loaded(tuple(self._items.values()), tuple(self._missing))

    def _fault(self, picture: Path | bytes) -> str | None:
        name = "the picture" if isinstance(picture, bytes) else self.name(picture)
        if isinstance(picture, Path):
            if not Path(os.path.normpath(picture)).is_relative_to(os.path.normpath(self.folder)):
                return f"{name} lies outside the folder"
            if not picture.is_file():
                return f"{name} is missing"
        try:
            with Image.open(BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
                # The cheapest look that still meets the end of the file.
                if image.format == "PNG":
                    image.verify()
                else:
                    image.draft("L", (1, 1))
                    image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return f"{name} is not a whole picture"
        return None


def user(text: str, pictures: int = 0) -> tuple[Message, ...]:
    """Return a user's message: pictures first, then the text; raise `ValueError` where there is no text."""
    if not text:
        raise ValueError("no text")
    parts: list[dict[str, str]] = [{"type": "image"}] * pictures
    return (Message.model_validate({"role": "user", "content": [*parts, {"type": "text", "text": text}]}),)
