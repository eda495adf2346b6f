"""Whether every case has its record."""

from panels import Page, Row, number, quantiles, series

RATE = "[$__rate_interval]"

STATE = Row(
    "Now",
    [
        number(
            "Database",
            "Whether the audit database answers. While it does not, records wait in the spool.",
            "up",
            ("min by (instance) (safer_audit_up)", "{{instance}}"),
            width=8,
        ),
        number(
            "Waiting in the spool",
            "Records on the servers' disks that the database does not have yet.",
            "short",
            ("sum(safer_audit_spool_records)", "records"),
            width=8,
        ),
        number(
            "Lost in the last 24 hours",
            "Records that are provably gone. Anything but 0 is an incident.",
            "short",
            ("sum(increase(safer_audit_dropped_total[24h]))", "records"),
            width=8,
            bad=1,
        ),
    ],
)

FLOW = Row(
    "Spool and database",
    [
        series(
            "Records in the spool",
            "A saw-tooth near zero is right. A slope means that the database is away or too slow; at SAFER_AUDIT_SPOOL_BYTES "
            "requests are refused.",
            "short",
            ("sum by (instance) (safer_audit_spool_records)", "{{instance}}"),
            width=12,
        ),
        series(
            "Size of the spool",
            "What the spool takes on each server's disk.",
            "bytes",
            ("sum by (instance) (safer_audit_spool_bytes)", "{{instance}}"),
            width=12,
        ),
        series(
            "Writing a record",
            "Time to append a record to the spool. Every case waits for it before the end of its reply.",
            "s",
            *quantiles("safer_audit_write_seconds", 0.5, 0.99),
            width=12,
        ),
        series(
            "Records written",
            "Records appended a second; as many as there are cases.",
            "cps",
            (f"sum(rate(safer_audit_write_seconds_count{RATE}))", "records"),
            (f"sum(rate(safer_requests_total{RATE}))", "cases"),
            width=12,
        ),
    ],
)

PAGE = Page("safer-audit", "SaFeR audit log", "Whether every case has its record.", [STATE, FLOW])
