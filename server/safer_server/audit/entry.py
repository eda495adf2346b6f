"""An entry of the audit log: a receipt and its record, as text, exactly as they were hashed.

The same line of JSON is in the spool, in the database (in two columns) and in an export.
"""

import json
from dataclasses import dataclass
from typing import Any

from safer_protocol.receipt import canonical


class MalformedError(Exception):
    """A line that is not an entry as it was written."""


@dataclass(frozen=True)
class Entry:
    """Canonical JSON, both."""

    receipt: bytes
    record: bytes

    @property
    def line(self) -> bytes:
        """The entry as a line, which is canonical JSON itself."""
        return b'{"receipt":%b,"record":%b}\n' % (self.receipt, self.record)

    @classmethod
    def of_line(cls, line: bytes) -> "Entry":
        """Take a line with its end apart; raise `MalformedError` unless it is one, to the byte."""
        content = read_object(line)
        if set(content) != {"receipt", "record"} or canonical(content) != line:
            raise MalformedError
        receipt = canonical(content["receipt"])
        return cls(receipt, line[len(b'{"receipt":' + receipt + b',"record":') : -1])


def read_object(line: bytes) -> dict[str, Any]:
    """Read a JSON object without fractions; raise `MalformedError`."""
    try:
        content = json.loads(line, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise MalformedError from None
    if not isinstance(content, dict):
        raise MalformedError
    return content


def _refuse(_: str) -> None:
    raise ValueError
