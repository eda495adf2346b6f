"""Folders of rows of facts: `prompts.jsonl` and `benign_images.jsonl`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safer_training.data.layouts import Found
from safer_training.errors import DataError
from safer_training.generate import generate
from safer_training.rows import Row, read_rows

OWN_LICENCE = "Apache-2.0"
PROMPTS_FILE, PICTURES_FILE = "prompts.jsonl", "benign_images.jsonl"


def read_facts(folder: Path, files: tuple[str, ...] = (PROMPTS_FILE, PICTURES_FILE)) -> Iterator[Found]:
    """Read a folder of facts; pictures without a question get one, and its answer, from their facts."""
    for name in files:
        file = folder / name
        rows = read_rows(file)
        lines = file.read_text(encoding="utf-8").splitlines()
        for row, line in zip(rows, lines, strict=True):
            added: dict[str, Any] = {"pictured": json.loads(line).get("typographic_text")}
            if name == PICTURES_FILE:
                question, answer = _asked(row)
                added |= {"group": _kin(row), "prompt": question, "answer": answer}
            yield Found(row.model_copy(update=added), folder / row.image if row.image else None)


def read_own() -> Iterator[Found]:
    """Yield the requests of the project's own generator."""
    for row in generate():
        yield Found(row.model_copy(update={"licence": OWN_LICENCE}), None)


def _kin(row: Row) -> str:
    """Pictures drawn or taken as variants of one another are of one group."""
    name = row.uid.split(":", 1)[1]
    match row.set:
        case "nlvr_dev":
            return name.rsplit("-", 1)[0]
        case "noto_emoji":
            # One emoji in several skin tones is one emoji.
            return "_".join(part for part in name.split("_") if part not in _TONES)
    return name


_TONES = frozenset(("1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"))


def _asked(row: Row) -> tuple[str, str | None]:
    """Return the question about a picture and its answer where the facts know it."""
    if row.prompt:
        return row.prompt, row.answer
    name = str(row.facts.get("name", "")).strip("_").replace("_", " ")
    match row.set:
        case "noto_emoji":
            return "Which emoji does the picture show?", name
        case "playing_cards":
            return "Which playing card is this?", name
        case "azure_samples" if row.facts.get("folder") in ("objects", "plants"):
            return "What does this photo show?", name.rstrip("0123456789 ") if name != "test image" else None
        case "azure_samples" | "skimage":
            return "What can be seen here?", None
    raise DataError(f"{row.uid} has neither a question nor facts to make one from")
