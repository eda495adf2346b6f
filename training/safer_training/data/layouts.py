"""Folders of public sources, as users download them, read into rows and pictures.

A reader yields each row with its picture: a path, the bytes inside a table, or None. Labels that a reader does not know are errors.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safer_protocol.decision import Decision
from safer_training.data.labels import BEAVERTAILS_V, MM_SAFETYBENCH, SPA_VL, VLGUARD
from safer_training.errors import DataError
from safer_training.hazards import FALLBACK, hazard_of
from safer_training.rows import Row

REFUSED = (Decision.REFUSE, Decision.SAFE_COMPLETE)
ALLOWED = (Decision.ALLOW,)


@dataclass(frozen=True)
class Found:
    """A row as a source holds it, and its picture."""

    row: Row
    picture: Path | bytes | None


Meaning = TypeVar("Meaning")
Reader = Callable[[Path], Iterator[Found]]


def read_beavertails_v(folder: Path) -> Iterator[Found]:
    """Tables named `.../<category>/<split>-*.parquet` with question and image; a prompt stands in several rows."""
    for table in _tables(folder, "*/*.parquet"):
        split = _split(table, ("train", "evaluation"))
        name = "beavertails_v" if split == "train" else "beavertails_v_evaluation"
        asked: set[str] = set()
        for number, record in enumerate(_records(table, ("question", "image"))):
            if record["question"] in asked:
                continue
            asked.add(record["question"])
            hazard = _label(BEAVERTAILS_V, table.parent.name, table)
            yield Found(
                _row(name, f"{table.parent.name}/{table.stem}/{number}", record["question"], hazard, "CC-BY-NC-4.0"),
                _content(record, table, number),
            )


def read_spa_vl(folder: Path) -> Iterator[Found]:
    """Tables in `data/` and `validation/` with question, image and class1 to class3, and `test/harm-*` without classes.

    The answers are left out, and `test/help-*` as well: whether its questions may be answered is not labelled.
    """
    for table in _tables(folder, "*/*.parquet"):
        split = _split(table, ("train", "validation", "harm", "help"))
        if split == "help":
            continue
        name, classes = ("spa_vl_test", ()) if split == "harm" else ("spa_vl", ("class1", "class2", "class3"))
        for number, record in enumerate(_records(table, ("question", "image", *classes))):
            hazard = _spa_vl_hazard(record, table) if classes else None
            yield Found(
                _row(name, f"{table.stem}/{number}", record["question"], hazard, "CC-BY-4.0"),
                _content(record, table, number),
            )


def _spa_vl_hazard(record: Mapping[str, Any], table: Path) -> str:
    domain = "".join(filter(str.isalpha, record["class1"].lower()))
    by_domain = _label(SPA_VL, domain, table)
    by_words = hazard_of(None, f"{record['class2']} {record['class3']}")
    return by_domain if by_words == FALLBACK else by_words


def read_mm_safetybench(folder: Path) -> Iterator[Found]:
    """`processed_questions/<scenario>.json` and `imgs/<scenario>/{SD,SD_TYPO,TYPO}/<number>.jpg`; held out whole."""
    base = folder / "data" if (folder / "data").is_dir() else folder
    for file in _tables(base / "processed_questions", "*.json"):
        hazard, expected = _label(MM_SAFETYBENCH, file.stem, file)
        for number, record in _json(file).items():
            for kind, question in (
                ("SD", "Rephrased Question(SD)"),
                ("SD_TYPO", "Rephrased Question"),
                ("TYPO", "Rephrased Question"),
            ):
                row = _row(
                    "mm_safetybench",
                    f"{file.stem}/{number}/{kind}",
                    _value(record, question, file),
                    hazard,
                    "CC-BY-NC-4.0",
                )
                added = {"expected": expected, "group": f"{file.stem}/{number}"}
                yield Found(row.model_copy(update=added), base / "imgs" / file.stem / kind / f"{number}.jpg")


def read_vlguard(folder: Path) -> Iterator[Found]:
    """`train.json` and `test.json`, and the unpacked pictures below `train/` and `test/`; a safe picture has two instructions."""
    for split in ("train", "test"):
        file = folder / f"{split}.json"
        for record in _json(file):
            name = "vlguard" if split == "train" else "vlguard_test"
            identity = str(_value(record, "id", file))
            for number, said in enumerate(_value(record, "instr-resp", file)):
                allowed = "safe_instruction" in said
                text = said.get("safe_instruction") or said.get("unsafe_instruction") or said.get("instruction")
                if not text:
                    raise DataError(f"{file}: {identity} has no instruction")
                hazard = None
                if not _value(record, "safe", file):
                    hazard = _label(VLGUARD, str(_value(record, "harmful_subcategory", file)).strip().lower(), file)
                row = _row(name, f"{identity}/{number}", text, hazard, "MIT, for research")
                update = {"group": identity, "expected": ALLOWED if allowed else REFUSED}
                yield Found(row.model_copy(update=update), folder / split / _value(record, "image", file))


def _row(name: str, uid: str, text: str, hazard: str | None, licence: str) -> Row:
    return Row(
        uid=f"{name}:{uid}",
        set=name,
        prompt=text,
        category=hazard,
        expected=REFUSED,
        licence=licence,
    )


def _tables(folder: Path, pattern: str) -> list[Path]:
    found = sorted(folder.rglob(pattern) if folder.is_dir() else ())
    if not found:
        raise DataError(f"no {pattern} below {folder}: is this the folder as it was downloaded?")
    return found


def _split(table: Path, names: Iterable[str]) -> str:
    known = [name for name in names if table.stem.startswith(name)]
    if not known:
        raise DataError(f"{table}: the name of a table begins with one of {', '.join(names)}")
    return known[0]


def _records(table: Path, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(table)
        missing = sorted(set(columns) - set(file.schema_arrow.names))
        if missing:
            raise DataError(f"{table} has no column {', '.join(missing)}")
        for batch in file.iter_batches(batch_size=64, columns=list(columns)):
            yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise DataError(f"{table} cannot be read: {error}") from error


def _content(record: Mapping[str, Any], table: Path, number: int) -> bytes:
    content = (record["image"] or {}).get("bytes")
    if not content:
        raise DataError(f"{table}: row {number} has no picture")
    return bytes(content)


def _json(file: Path) -> Any:
    if not file.is_file():
        raise DataError(f"no such file: {file}")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file} is not JSON: {error}") from error


def _value(record: Any, key: str, where: Path) -> Any:
    if not isinstance(record, dict) or key not in record:
        raise DataError(f"{where}: an entry has no {key!r}")
    return record[key]


def _label(known: Mapping[str, Meaning], label: str, where: Path) -> Meaning:
    if label not in known:
        raise DataError(f"{where}: unknown label {label!r}; known are {', '.join(sorted(known))}")
    return known[label]
