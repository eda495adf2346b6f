"""API keys: random ones, of which the server knows the SHA-256 alone, and what each of them may do.

A key has 256 random bits, so that its plain hash cannot be searched: the slow and salted hashes are for passwords.
"""

import hmac
import secrets
from collections.abc import Sequence
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from limits import RateLimitItem, parse_many
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from safer_server.document import Document, DocumentError, parse_document, read_document
from safer_server.settings import Settings

_PREFIX = "sk-safer-"


class Scope(StrEnum):
    """A part of the API that a key opens."""

    CHAT = "chat"
    AUDIT = "audit"
    METRICS = "metrics"


def _checked_rate(rate: str) -> str:
    try:
        items = parse_many(rate)
    except ValueError:
        items = []
    if len(items) != 1 or items[0].amount < 1 or items[0].get_expiry() < 1:
        raise ValueError("Not a rate such as 600/minute")
    return rate


class KeyEntry(BaseModel):
    """A key as the keys file has it; rate and concurrency hold for all its requests together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    rate: Annotated[str, AfterValidator(_checked_rate)] | None = None
    concurrency: int | None = Field(default=None, ge=1, le=1000)

    @property
    def rate_limit(self) -> RateLimitItem | None:
        """The rate as the library takes it."""
        return None if self.rate is None else parse_many(self.rate)[0]


_ENTRIES = TypeAdapter(tuple[KeyEntry, ...])


class Keys:
    """All keys that the server knows; without any it is open to everybody."""

    def __init__(self, entries: Sequence[KeyEntry] = ()) -> None:
        self._entries = tuple(entries)

    @property
    def is_open(self) -> bool:
        """Whether no key is asked for."""
        return not self._entries

    def find(self, key: str) -> KeyEntry | None:
        """Return the entry of a key; how long that takes does not depend on the key."""
        digest, found = digest_of(key), None
        for entry in self._entries:
            if hmac.compare_digest(entry.sha256, digest):
                found = entry
        return found


def new_key() -> str:
    """Make a key of 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    """Hash a key as the keys file has it."""
    return sha256(key.encode()).hexdigest()


def keys_of(settings: Settings) -> Keys:
    """Read the keys that the settings name, if any; raise `DocumentError`."""
    match settings.keys_file, settings.keys:
        case None, None:
            return Keys()
        case Path() as file, None:
            return load_keys(read_document(file))
        case None, SecretStr() as text:
            return load_keys(parse_document("SAFER_KEYS", text.get_secret_value()))
        case _:
            raise DocumentError("SAFER_KEYS_FILE and SAFER_KEYS: only one of them may be set")


def load_keys(document: Document) -> Keys:
    """Take the keys from a list of entries; raise `DocumentError`."""
    entries = _entries_of(document)
    if not entries:
        raise document.fault((), "there is no key in it, and an open server is one without this setting")
    _refuse_twins(document, entries)
    return Keys(entries)


def _entries_of(document: Document) -> tuple[KeyEntry, ...]:
    try:
        return _ENTRIES.validate_python(document.content)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        # Whatever is no field's name might be a key that was put into the wrong place.
        known = [str(step) for step in detail["loc"] if isinstance(step, int) or step in KeyEntry.model_fields]
        raise document.fault(known, detail["msg"].removeprefix("Value error, ")) from None


def _refuse_twins(document: Document, entries: Sequence[KeyEntry]) -> None:
    names: set[str] = set()
    digests: set[str] = set()
    for number, entry in enumerate(entries):
        for field, value, seen in (("name", entry.name, names), ("sha256", entry.sha256, digests)):
            if value in seen:
                raise document.fault((str(number), field), "another key has it, too")
            seen.add(value)
