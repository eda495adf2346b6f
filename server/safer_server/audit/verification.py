"""Proving an audit log: every signature, every hash, the chain of each server process, and every trace; the first fault ends it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from pydantic import ValidationError

from safer_protocol.receipt import Receipt, Tombstone, canonical
from safer_protocol.reply import Reply
from safer_protocol.toolkit import Toolkit
from safer_protocol.trace import Call, Trace
from safer_protocol.verify import verify
from safer_server.audit.entry import Entry, MalformedError, read_object
from safer_server.audit.keyring import PublicKeys
from safer_server.audit.record import AuditRecord, RecordedVerdict, claims_of
from safer_server.audit.schema import row_of


class BrokenError(Exception):
    """The first record that is not what was signed; the message names it and says why."""


@dataclass(frozen=True)
class Link:
    """Where a chain stands: the number of its last receipt, and that one's hash."""

    sequence: int
    receipt: str


@dataclass
class Verifier:
    """Takes a log chain by chain, each in its order; `toolkits` are those of the policies at hand, by policy hash.

    A chain begins with receipt 0 or after a tombstone; in a part of a log (`partial`) it may begin anywhere.
    """

    keys: PublicKeys
    toolkits: Mapping[str, Toolkit]
    partial: bool = False
    records: int = 0
    unchecked: int = 0
    """Traces whose policy is not at hand, or that were not kept."""
    heads: dict[str, Link] = field(default_factory=dict)
    _started: set[str] = field(default_factory=set)

    def take_tombstone(self, text: bytes) -> None:
        """Check a tombstone; all of them come before the records. Raise `BrokenError`."""
        try:
            stone = Tombstone.model_validate(read_object(text))
        except (MalformedError, ValidationError):
            raise BrokenError("a tombstone is not as it was written") from None
        if not self.keys.holds(stone):
            raise BrokenError(f"the tombstone of {stone.server} is not signed by a known key")
        self.heads[stone.server] = Link(stone.sequence, stone.receipt)

    def take(self, entry: Entry, row: Mapping[str, Any] | None = None) -> None:
        """Check the next record, with its row where it is from a database. Raise `BrokenError`."""
        name = f"record {self.records + 1}" if row is None else f"record {row['trace_id']!r}"
        try:
            receipt = Receipt.model_validate(read_object(entry.receipt))
        except (MalformedError, ValidationError):
            raise BrokenError(f"{name}: its receipt is not as it was written") from None
        if receipt.text != entry.receipt or not self.keys.holds(receipt):
            raise BrokenError(f"{name}: its receipt is not signed by a known key")
        name = f"record {receipt.trace_id} (number {receipt.sequence} of server {receipt.server})"
        if sha256(entry.record).hexdigest() != receipt.record:
            raise BrokenError(f"{name} is not what was signed")
        if row is not None and {**row} != row_of(entry):
            raise BrokenError(f"{name}: the columns of its row are not what was signed")
        self._follow(receipt, name)
        try:
            record = AuditRecord.model_validate_json(entry.record)
        except ValidationError:
            raise BrokenError(f"{name} has a form that this version does not know") from None
        claims = claims_of(record)
        if any(getattr(receipt, key) != value for key, value in claims.items()):
            raise BrokenError(f"{name}: receipt and record do not say the same")
        self._check_traces(record, name)
        self.records += 1

    def finish(self, least: Mapping[str, int]) -> None:
        """Check that the chains reach at least these numbers. Raise `BrokenError`."""
        for server, sequence in least.items():
            head = self.heads.get(server)
            if head is None or head.sequence < sequence:
                at = "nothing" if head is None else f"number {head.sequence}"
                raise BrokenError(
                    f"server {server}: its chain reached number {sequence}, and {at} is the last of it here"
                )

    def _follow(self, receipt: Receipt, name: str) -> None:
        last = self.heads.get(receipt.server)
        expected = (0, None) if last is None else (last.sequence + 1, last.receipt)
        may_start = self.partial and receipt.server not in self._started
        if not may_start and (receipt.sequence, receipt.previous) != expected:
            missing = receipt.sequence > expected[0]
            raise BrokenError(f"{name}: " + ("what came before it is missing" if missing else "its place is another"))
        self._started.add(receipt.server)
        self.heads[receipt.server] = Link(receipt.sequence, receipt.hash)

    def _check_traces(self, record: AuditRecord, name: str) -> None:
        toolkit = self.toolkits.get(record.policy_hash)
        for verdict in (record, record.reply):
            if verdict is None or verdict.failure is not None:
                continue
            if toolkit is None or verdict.trace is None:
                self.unchecked += 1
            elif not _holds(verdict, verdict.trace, toolkit):
                raise BrokenError(f"{name}: its trace does not lead to its decision")


def _holds(verdict: RecordedVerdict, trace: Trace, toolkit: Toolkit) -> bool:
    """Whether plan and trace are valid and lead to the decision; JSON knows no order of fields, so theirs is the toolkit's."""
    if verdict.plan is None:
        return False
    calls = tuple(_ordered(call, toolkit) for call in trace)
    report = verify(Reply(plan=verdict.plan, trace=calls, answer=None), toolkit)
    return report.valid and report.decision == verdict.decision


def _ordered(call: Call, toolkit: Toolkit) -> Call:
    tool = toolkit.by_name.get(call.tool)
    keys = [] if tool is None else [each.key for each in tool.fields]
    order = {key: place for place, key in enumerate(keys)}
    return Call(
        tool=call.tool, fields=dict(sorted(call.fields.items(), key=lambda item: order.get(item[0], len(order))))
    )


def take_line(verifier: Verifier, line: bytes) -> None:
    """Check a line of an export. Raise `BrokenError`."""
    try:
        content = read_object(line)
        if set(content) == {"tombstone"}:
            verifier.take_tombstone(canonical(content["tombstone"]))
        else:
            verifier.take(Entry.of_line(line))
    except MalformedError:
        raise BrokenError(f"record {verifier.records + 1} is not as it was written") from None
