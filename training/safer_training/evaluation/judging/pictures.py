"""The pictures of a run's items, for a judge: from where they were found, or from the suite loaded anew."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from safer_training.errors import DataError
from safer_training.evaluation.item import Item
from safer_training.evaluation.listing import Listed, listed

Pictures = Callable[[Listed], Sequence[Path | bytes]]


def pictures_of(items: Sequence[Listed], reload: Callable[[], Sequence[Item]]) -> Pictures:
    """Return where to get pictures; the suite is loaded only if some have moved, or lay inside a table."""
    pictured = [item for item in items if item.images]
    if all(_found(item) for item in pictured):
        return lambda item: [Path(file) for file in item.files if file]
    loaded: Mapping[str, Item] = {item.uid: item for item in reload()}
    for item in pictured:
        again = loaded.get(item.uid)
        if again is None or listed(again).images != item.images:
            raise DataError(f"the pictures of {item.uid} are not those of the run: is --data the folder of its suite?")
    return lambda item: loaded[item.uid].images if item.images else ()


def _found(item: Listed) -> bool:
    return all(map(_is_there, item.files, item.images))


def _is_there(file: str | None, sha256: str) -> bool:
    if file is None or not Path(file).is_file():
        return False
    with Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == sha256
