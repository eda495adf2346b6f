"""The pool: rows of every imported source with their pictures, in `imported/<source>.jsonl` of a data folder."""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from safer_training.data.layouts import Found
from safer_training.data.pictures import PictureStore
from safer_training.errors import DataError
from safer_training.rows import Row, read_rows

IMPORTED = "imported"
ROOM = 200_000_000
"""Bytes that must be free on the disk before anything is begun."""


def require_room(folder: Path) -> None:
    """Raise `DataError` where the disk is so full that work would soon be cut short."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < ROOM:
        raise DataError(f"only {free // 1_000_000} MB are free for {folder}; {ROOM // 1_000_000} MB are needed")


def import_rows(source: str, found: Iterable[Found], folder: Path) -> int:
    """Put a source into the pool and return its number of rows; the whole source is put there, or nothing of it.

    Pictures that an interrupted import has kept are found again by their content.
    """
    require_room(folder)
    pictures = PictureStore(folder)
    file = folder / IMPORTED / f"{source}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    seen: Counter[str] = Counter()
    with unfinished.open("w", encoding="utf-8") as lines:
        for one in found:
            seen[one.row.uid] += 1
            if seen[one.row.uid] > 1:
                raise DataError(f"{source}: two rows have the name {one.row.uid}")
            lines.write(one.row.model_copy(update={"image": _keep(one, pictures)}).model_dump_json() + "\n")
    if not seen:
        raise DataError(f"{source}: no rows")
    unfinished.replace(file)
    return len(seen)


def _keep(found: Found, pictures: PictureStore) -> str | None:
    match found.picture:
        case None:
            return None
        case bytes():
            return pictures.add(found.picture, found.row.uid)
        case Path():
            return pictures.add_file(found.picture)


def read_pool(folder: Path) -> list[Row]:
    """Return the rows of all sources; raise `DataError` where there is none or a picture has gone."""
    files = sorted((folder / IMPORTED).glob("*.jsonl"))
    if not files:
        raise DataError(f"nothing is imported in {folder}: begin with `safer data import`")
    rows = [row for file in files for row in read_rows(file)]
    missing = list(_missing(rows, folder))
    if missing:
        raise DataError(f"{len(missing)} pictures are missing below {folder}, the first is {missing[0]}: import again")
    return rows


def _missing(rows: Iterable[Row], folder: Path) -> Iterator[str]:
    return (row.image for row in rows if row.image and not (folder / row.image).is_file())
