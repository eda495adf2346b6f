"""What a checkpoint says of itself in its `safer.json`."""

import json
from hashlib import sha256
from pathlib import Path

from safer_protocol.toolkit import Toolkit

CARD = "safer.json"


class CheckpointError(Exception):
    """A checkpoint that must not be served; the message says what to do."""


def trained_protocol(checkpoint: Path) -> str | None:
    """Return the `protocol_hash` that a checkpoint was trained on, None where it does not say."""
    try:
        card = json.loads((checkpoint / CARD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    trained = card.get("protocol_hash") if isinstance(card, dict) else None
    return trained if isinstance(trained, str) else None


def checkpoint_hash(checkpoint: Path) -> str:
    """Name a checkpoint: a hash of its JSON files, and of the names and sizes of all others, whose content would take minutes."""
    known = sha256()
    for file in sorted(path for path in checkpoint.iterdir() if path.is_file()):
        content = file.read_bytes() if file.suffix == ".json" else str(file.stat().st_size).encode()
        known.update(b"%b\0%d\0%b" % (file.name.encode(), len(content), content))
    return known.hexdigest()


def check_protocol(checkpoint: Path, toolkit: Toolkit) -> None:
    """Raise `CheckpointError` unless the directory is a checkpoint that was trained on this toolkit."""
    if not (checkpoint / "config.json").is_file():
        raise CheckpointError(f"{checkpoint} is not a checkpoint: it has no config.json")
    trained = trained_protocol(checkpoint)
    if trained == toolkit.hash:
        return
    says = f"was trained on protocol {trained[:12]}" if trained else "was trained on no protocol that it names"
    raise CheckpointError(
        f"{checkpoint} {says}, and this server speaks {toolkit.hash[:12]}. Train it on this protocol, or serve it all the "
        "same with --allow-protocol-mismatch (SAFER_ALLOW_PROTOCOL_MISMATCH=true)."
    )
