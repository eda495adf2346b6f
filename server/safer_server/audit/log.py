"""The audit log of a server process: records are written and signed here, one after the other."""

import asyncio
import logging
import math
import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from threading import Lock

from safer_protocol.receipt import Receipt
from safer_server.audit.database import open_database
from safer_server.audit.entry import Entry
from safer_server.audit.heads import Heads
from safer_server.audit.keyring import Jwks, Signer, open_keyring
from safer_server.audit.meters import Meters
from safer_server.audit.record import Content, claims_of, written
from safer_server.audit.recording import Identity, recorded
from safer_server.audit.retention import Retention
from safer_server.audit.shipper import Shipper
from safer_server.audit.spool import Spool, adopt
from safer_server.audit.store import Store
from safer_server.case import Case
from safer_server.errors import AuditUnavailableError
from safer_server.intake import Submission
from safer_server.ledger import FAILED_TEXT
from safer_server.record import Failure, Outcome, Record
from safer_server.settings import Settings
from safer_server.source import Source

logger = logging.getLogger(__name__)

_ROOM_SECONDS = 2.0
"""So long a request waits for room in the spool before it is turned away."""
_PRUNE_SECONDS = 60.0

SPOOL, HEADS, DATABASE = "spool", "heads", "audit.db"


@dataclass(frozen=True)
class _Opened:
    """What there is between start and close."""

    signer: Signer
    jwks: Jwks
    spool: Spool
    shipper: Shipper


class AuditLog:
    """Writes records, and has them moved into the database."""

    def __init__(self, settings: Settings, identity: Identity, meters: Meters) -> None:
        self.store = Store(open_database(database_url(settings)))
        self._settings = settings
        self._identity = identity
        self._meters = meters
        self._retention = Retention(settings.audit_days, settings.audit_bytes)
        self._pruned = -math.inf
        self._opened: _Opened | None = None
        self._chain = Lock()
        self._next: tuple[int, str | None] = 0, None

    @property
    def opened(self) -> _Opened:
        """What is there once it has been started."""
        if self._opened is None:
            raise RuntimeError("the audit log has not been started")
        return self._opened

    @property
    def jwks(self) -> Jwks:
        """The public keys."""
        return self.opened.jwks

    async def start(self) -> None:
        """Open keys and spool, take over what dead processes left, and begin to move records.

        Returns when the database has its tables, or has been found away.
        """
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        folder, settings = self._settings.audit_dir, self._settings
        signer, jwks = open_keyring(folder, settings.receipt_key_file)
        left = adopt(folder / SPOOL)
        spool = Spool(folder / SPOOL, self._identity.server, fsync=settings.audit_fsync)
        shipper = Shipper(spool, left, self.store, Heads(folder / HEADS), self._meters, self._tend)
        self._opened = _Opened(signer, jwks, spool, shipper)
        logger.info("audit: records go through %s, signed with the key %s", folder, signer.kid)
        shipper.start()

    async def close(self) -> None:
        """Write and move what there is."""
        if self._opened is not None:
            await asyncio.to_thread(self._close, self._opened)

    def _close(self, opened: _Opened) -> None:
        opened.shipper.stop()
        opened.spool.close()
        self.store.engine.dispose()

    async def room(self) -> None:
        """Wait until the spool takes another record; raise `AuditUnavailableError` where that takes too long."""
        deadline = time.monotonic() + _ROOM_SECONDS
        while self.opened.shipper.load()[1] >= self._settings.audit_spool_bytes:
            if time.monotonic() > deadline:
                raise AuditUnavailableError("The audit log takes no more records, because its database is away.")
            await asyncio.sleep(0.05)

    async def seal(self, record: Record, submission: Submission, case: Case, source: Source) -> Record:
        """Write the record of a closed case and put its receipt in; a case that cannot be written down fails closed."""
        try:
            if self._takes_long(submission):
                receipt = await asyncio.to_thread(self._write, record, submission, case, source)
            else:
                receipt = self._write(record, submission, case, source)
        except OSError:
            logger.exception("audit: a record cannot be written")
            return replace(
                record,
                outcome=Outcome.FAILED_CLOSED,
                failure=Failure.AUDIT_UNAVAILABLE,
                decision=None,
                finding=None,
                answer=None,
                refusal=FAILED_TEXT,
                finish_reason="content_filter",
            )
        return replace(record, receipt=receipt)

    def _takes_long(self, submission: Submission) -> bool:
        """Whether to write in another thread: to wait for the disk, or for pictures. Else changing threads would cost more."""
        said = (part for utterance in submission.conversation for part in utterance.parts)
        is_full = self._identity.content is Content.FULL
        return self._settings.audit_fsync or (is_full and any(part.type == "image" for part in said))

    def _write(self, record: Record, submission: Submission, case: Case, source: Source) -> Receipt:
        signer, spool = self.opened.signer, self.opened.spool
        with self._meters.write_seconds.time():
            account = recorded(record, submission, case.hashes, source, self._identity)
            text = written(account)
            claims = {**claims_of(account), "record": sha256(text).hexdigest()}
            with self._chain:
                sequence, previous = self._next
                receipt = signer.sign(Receipt(**claims, sequence=sequence, previous=previous, key=signer.kid))
                entry = Entry(receipt.text, text)
                spool.append(entry.line)
                self._next = sequence + 1, sha256(entry.receipt).hexdigest()
        return receipt

    def _tend(self) -> None:
        if time.monotonic() - self._pruned > _PRUNE_SECONDS:
            self._retention.prune(self.store, self.opened.signer)
            self._pruned = time.monotonic()


def database_url(settings: Settings) -> str:
    """Where the database is."""
    if settings.audit_url is not None:
        return settings.audit_url.get_secret_value()
    return f"sqlite:///{settings.audit_dir / DATABASE}"


def new_server() -> str:
    """Name a server process by its start."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(6)}"
