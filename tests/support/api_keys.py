"""API keys for tests: a key for a name, and the setting that lets it in."""

import json
from typing import Any

from safer_server.keys import digest_of


def key_of(name: str) -> str:
    """The key of that name; real ones are random."""
    return f"sk-safer-{name}-of-the-tests"


def entry(name: str, *scopes: str, **limits: Any) -> dict[str, Any]:
    """The entry of a key; its scope is chat unless others are given."""
    return {"name": name, "sha256": digest_of(key_of(name)), "scopes": list(scopes or ("chat",)), **limits}


def keys(*entries: dict[str, Any]) -> str:
    """Write entries as `SAFER_KEYS` has them."""
    return json.dumps(entries)


def bearer(name: str) -> dict[str, str]:
    """The header that authenticates."""
    return {"Authorization": f"Bearer {key_of(name)}"}
