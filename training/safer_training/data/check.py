"""Whether a data set is what its card says."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

from pydantic import ValidationError

from safer_protocol.toolkit import Toolkit
from safer_protocol.verify import verify
from safer_training.data.card import CARD_FILE, Card
from safer_training.data.records import DpoRow, GrpoRow, SftRow, read_part
from safer_training.errors import DataError, ProtocolMismatchError

AnyRow = SftRow | DpoRow | GrpoRow


def check(folder: Path, toolkit: Toolkit) -> int:
    """Check the files against the card, the pictures and every good reply; return the number of rows.

    Raises `DataError` with what is wrong first, `ProtocolMismatchError` for another protocol.
    """
    card = read_card(folder)
    if card.protocol_hash != toolkit.hash:
        raise ProtocolMismatchError(
            f"{folder} was built for protocol {card.protocol_hash[:12]}, not {toolkit.hash[:12]}"
        )
    for part, expected in card.files.items():
        file = folder / f"{part}.jsonl"
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise DataError(f"{file} is missing or was changed since its card was written: build again")
    number = 0
    groups: dict[str, str] = {}
    for part, row in _rows(folder):
        number += 1
        if groups.setdefault(row.group, part) != part:
            raise DataError(f"group {row.group} is in {groups[row.group]} and in {part}")
        missing = [path for path in row.images if not (folder / path).is_file()]
        if missing:
            raise DataError(f"{row.uid}: missing picture: {folder / missing[0]}")
        fault = _fault(row, toolkit)
        if fault is not None:
            raise DataError(f"{row.uid}: {fault}")
    return number


def read_card(folder: Path) -> Card:
    """Read the card of a data set; raise `DataError`."""
    file = folder / CARD_FILE
    if not file.is_file():
        raise DataError(f"no such file: {file}; make it with `safer data build`")
    try:
        return Card.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise DataError(f"{file}: {error.errors()[0]['msg']}") from error


def _rows(folder: Path) -> Iterator[tuple[str, AnyRow]]:
    """Yield all rows with the name of the part that owns their group."""
    yield from (("sft", row) for row in read_part(folder, "sft", SftRow))
    yield from (("sft", row) for row in read_part(folder, "dpo", DpoRow))
    yield from (("grpo", row) for row in read_part(folder, "grpo", GrpoRow))
    yield from (("held_out", row) for row in read_part(folder, "held_out", GrpoRow))


def _fault(row: AnyRow, toolkit: Toolkit) -> str | None:
    match row:
        case SftRow():
            return None if verify(row.reply, toolkit).valid else "its reply does not verify"
        case DpoRow():
            return "its two replies are the same" if row.chosen == row.rejected else None
        case GrpoRow():
            return None
    assert_never(row)
