"""`safer.json`: what a checkpoint was made for, and how."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from safer_protocol.toolkit import Toolkit
from safer_training.errors import ProtocolMismatchError

STAMP_FILE = "safer.json"


class Stamp(BaseModel):
    """The stamp of a checkpoint; `data_hash` is the SHA-256 of the rows it was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol_hash: str
    size: str
    stage: Literal["untrained", "sft", "joint", "dpo", "grpo"]
    recipe: str | None = None
    data_hash: str | None = None
    steps: int = 0

    def write(self, directory: Path) -> None:
        """Write the stamp into a checkpoint's directory."""
        (directory / STAMP_FILE).write_text(self.model_dump_json(indent=2) + "\n")


def read_stamp(directory: Path, toolkit: Toolkit) -> Stamp:
    """Read a checkpoint's stamp; raise `ProtocolMismatchError` where it was made for another protocol or has none."""
    path = directory / STAMP_FILE
    if not path.is_file():
        raise ProtocolMismatchError(f"{directory} has no {STAMP_FILE}: make one with `safer checkpoint build`")
    stamp = Stamp.model_validate_json(path.read_text())
    if stamp.protocol_hash != toolkit.hash:
        raise ProtocolMismatchError(
            f"{directory} was made for protocol {stamp.protocol_hash[:12]}, this is {toolkit.hash[:12]}: "
            "build and train a new one"
        )
    return stamp
