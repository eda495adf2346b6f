"""Receipts: what a server signs about a case, chained one to the next, so that nothing can be changed or left out unnoticed.

Everything that is hashed or signed is canonical JSON (RFC 8785). It holds no fractions, whose spelling is the hard part of that
standard; see `canonical`. Signing and checking signatures is left to whoever has the keys.
"""

import json
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import Field as PydanticField

from safer_protocol.frozen import Frozen
from safer_protocol.violation import Code

Hash = Annotated[str, PydanticField(pattern=r"^[0-9a-f]{64}$")]


def canonical(value: Any) -> bytes:
    """Write a JSON value as RFC 8785 does: sorted keys, no blanks, UTF-8.

    Numbers must be integers below 2**53 and keys within Unicode's basic plane; raises ValueError for any other number.
    """
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=_refuse)
    _refuse_fractions(value)
    return written.encode()


def digest(value: Any) -> str:
    """Hash a JSON value by its canonical form."""
    return sha256(canonical(value)).hexdigest()


def _refuse(value: object) -> None:
    raise ValueError(f"{type(value).__name__} is not JSON")


def _refuse_fractions(value: Any) -> None:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        value = (value,)
    for item in value:
        if isinstance(item, dict | list | tuple):
            _refuse_fractions(item)
        elif isinstance(item, float):
            raise ValueError("a fraction has no canonical form here")
        elif isinstance(item, int) and abs(item) >= 2**53:
            raise ValueError("the integer is too large for JSON")


class PartHash(Frozen):
    """A text (its UTF-8) or picture (its file) of the conversation, by where it stood in the request."""

    part: str
    sha256: Hash


class Claims(Frozen):
    """What a receipt says of a case; hashes of JSON are of its canonical form, that of the answer is of its UTF-8."""

    trace_id: str
    time: str
    server: str
    parts: tuple[PartHash, ...]
    """Empty where the server keeps no hashes of what was said."""
    plan: Hash | None
    trace: Hash | None
    answer: Hash | None
    """Of the answer or refusal."""
    reply: Hash | None
    """Of the verdict on another model's reply, as the record has it."""
    protocol_hash: str
    policy: str
    policy_hash: str
    model: str
    checkpoint: str | None
    constraint: str | None
    decision: str | None
    outcome: str
    valid: bool
    violations: tuple[Code, ...]
    record: Hash
    """Of the whole audit record."""


class Receipt(Claims):
    """The signed claims, numbered for each server process from 0; `previous` is the hash of the receipt before, None in the first.

    `signature` is base64 of the Ed25519 signature, by the key named `key`, over `payload`.
    """

    version: Literal[1] = 1
    sequence: int = PydanticField(ge=0)
    previous: Hash | None
    key: str
    signature: str = ""

    @property
    def payload(self) -> bytes:
        """The bytes that are signed."""
        return canonical(self.model_dump(mode="json", exclude={"signature"}))

    @property
    def text(self) -> bytes:
        """The whole receipt as canonical JSON."""
        return canonical(self.model_dump(mode="json"))

    @property
    def hash(self) -> str:
        """What the next receipt names."""
        return sha256(self.text).hexdigest()


class Tombstone(Frozen):
    """The signed word of a server that it removed the receipts of a chain up to and with `sequence`, whose hash was `receipt`."""

    server: str
    sequence: int = PydanticField(ge=0)
    receipt: Hash
    time: str
    key: str
    signature: str = ""

    @property
    def payload(self) -> bytes:
        """The bytes that are signed."""
        return canonical(self.model_dump(mode="json", exclude={"signature"}))
