"""Small suites and requests of evaluations, in words of their own."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from safer_protocol.decision import Decision
from safer_protocol.prompt import Role
from safer_training.data.records import ImageContent, Message, TextContent
from safer_training.evaluation.item import Item, Loaded
from safer_training.evaluation.runner import Order
from safer_training.evaluation.sampling import Sampling


def said(role: Role, *parts: str | None) -> Message:
    """Make a message of texts, and of pictures where a part is None."""
    return Message(role=role, content=tuple(ImageContent() if one is None else TextContent(text=one) for one in parts))


def item(uid: str, text: str = "How do I fold a paper boat?", **fields: Any) -> Item:
    """Make an item that may be allowed."""
    return Item(**{"uid": uid, "prompt": (said("user", text),), "expected": (Decision.ALLOW,), **fields})


def pictured(uid: str, *texts: str, image: Path | bytes | None = None) -> Item:
    """Make an item with a picture before its text."""
    return item(uid, prompt=(said("user", None, *texts),), images=(image or png(),))


def png(size: tuple[int, int] = (40, 30), colour: str = "teal") -> bytes:
    """Draw a picture."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def order(items: Sequence[Item], *variants: str, limit: int | None = None, **sampling: Any) -> Order:
    """Order a run of items."""
    chosen = Sampling.model_validate({"max_tokens": 300, **sampling})
    return Order("small", "A small suite", Loaded(tuple(items), ("3 pictures",)), chosen, variants or ("plain",), limit)


def write_suite(folder: Path, texts: Sequence[str]) -> Path:
    """Write a folder of facts and a suite file beside it; return the file."""
    rows = [
        {
            "uid": f"small:{number}",
            "set": "small",
            "prompt": text,
            "expected": ["allow"],
            "licence": "own",
            "category": None,
        }
        for number, text in enumerate(texts)
    ]
    (folder / "facts").mkdir(parents=True)
    (folder / "facts/prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = folder / "small.yaml"
    file.write_text(
        "name: small\ntitle: A small suite\nkind: safety\nmeasures: nothing\nlicence: own\nsource: here\nfolder: facts\n"
        "layout: facts\noptions:\n  sets: [small]\n"
    )
    return file
