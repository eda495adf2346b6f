"""A folder of built rows, small enough for a model of a million parameters: two kinds of requests that their words tell apart."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from safer_protocol.prompt import ImagePart, Turn
from safer_protocol.text import print_reply
from safer_protocol.toolkit import Toolkit
from safer_training.data.records import Prompt
from safer_training.generate import generate
from safer_training.prompts import to_messages
from safer_training.render import draw
from safer_training.rows import Row
from safer_training.teacher import judge, teach

HAZARD = "violent_crimes"


def chosen_rows(count: int, skip: int = 0) -> list[Row]:
    """Return rows of everyday and of harmful requests by turns."""
    every = generate()
    calm = [row for row in every if row.set == "own_everyday"]
    grim = [row for row in every if row.refusing and judge(row).category == HAZARD]
    Random(0).shuffle(calm)
    Random(0).shuffle(grim)
    pairs = zip(calm[skip:], grim[skip:], strict=False)
    return [row for pair in pairs for row in pair][:count]


def build_folder(folder: Path, toolkit: Toolkit, *, count: int = 48, held_out: int = 24, pictures: int = 0) -> None:
    """Write all four parts; the first `pictures` rows of each show their request as a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, exam = chosen_rows(count), chosen_rows(held_out, skip=count)
    harmless, harmful = rows[0], rows[1]
    parts: dict[str, list[dict[str, Any]]] = {"sft": [], "dpo": [], "grpo": [], "held_out": []}
    for number, row in enumerate([*rows, *exam]):
        shown = _prompt(row, folder, toolkit, pictured=number < pictures)
        form: Any = "typographic" if number < pictures else "text"
        good = print_reply(teach(row, form, toolkit), toolkit)
        wrong = print_reply(teach(harmless if row.refusing else harmful, form, toolkit), toolkit)
        labels = {"expected": list(row.expected), "category": judge(row).category, "answer": None}
        if number >= count:
            parts["held_out"].append({**shown, **labels})
            continue
        parts["sft"].append({**shown, "reply": good})
        parts["dpo"].append({**shown, "chosen": good, "rejected": wrong, "corruption": "decision"})
        parts["grpo"].append({**shown, **labels})
    for name, some in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in some))


def _prompt(row: Row, folder: Path, toolkit: Toolkit, pictured: bool) -> dict[str, Any]:
    parts: tuple[str | ImagePart, ...] = (row.text,)
    images: Sequence[str] = []
    if pictured:
        name = f"{row.uid.replace(':', '-')}.png"
        draw(row.text[:30], Random(row.uid), "easy").image.save(folder / name)
        parts, images = (ImagePart(None), "Answer the request in the picture."), [name]
    one = Prompt(
        uid=row.uid,
        group=row.uid,
        source=row.set,
        licence="Apache-2.0",
        teacher="template",
        protocol_hash=toolkit.hash,
        prompt=to_messages([Turn("user", parts)]),  # type: ignore[arg-type]
        images=tuple(images),
    )
    return one.model_dump(mode="json")
