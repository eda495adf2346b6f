"""Retention: the oldest records go, by age and by size, and a signed tombstone tells from where on each chain begins."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from safer_protocol.receipt import Receipt, Tombstone
from safer_server.audit.keyring import Signer
from safer_server.audit.recording import now
from safer_server.audit.store import Store, timestamp


@dataclass(frozen=True)
class Retention:
    """How long records are kept, and how many bytes of them; None keeps all."""

    days: int | None
    nbytes: int | None

    def prune(self, store: Store, signer: Signer) -> int:
        """Remove what is too old or too much, chain by chain; return how many records."""
        before = None if self.days is None else timestamp(datetime.now(UTC) - timedelta(days=self.days))
        removed = 0
        for server, last in store.oldest(before, self.nbytes).items():
            receipt = store.receipt_at(server, last)
            if receipt is None:  # another server was quicker
                continue
            buried = Tombstone(
                server=server,
                sequence=last,
                receipt=Receipt.model_validate_json(receipt).hash,
                time=now(),
                key=signer.kid,
            )
            removed += store.bury(signer.sign(buried))
        return removed
