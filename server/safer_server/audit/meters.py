"""The audit log's own metrics."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_WRITE_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
_SHIP_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30)


class Meters:
    """What is measured of spool and database; several processes show the sum, and are up where all of them are."""

    def __init__(self, registry: CollectorRegistry) -> None:
        histogram, gauge = partial(Histogram, registry=registry), partial(Gauge, registry=registry)
        self.write_seconds = histogram(
            "safer_audit_write_seconds", "Writing and signing a record, to the spool.", buckets=_WRITE_SECONDS
        )
        self.ship_seconds = histogram(
            "safer_audit_ship_seconds", "Moving a batch of records into the database.", buckets=_SHIP_SECONDS
        )
        self.dropped = Counter(
            "safer_audit_dropped", "Lines of the spool that could not be read back.", registry=registry
        )
        self.spool_records = gauge(
            "safer_audit_spool_records", "Records that wait for the database.", multiprocess_mode="livesum"
        )
        self.spool_bytes = gauge("safer_audit_spool_bytes", "Bytes of them.", multiprocess_mode="livesum")
        self.up = gauge("safer_audit_up", "Whether the audit database takes records.", multiprocess_mode="livemin")
