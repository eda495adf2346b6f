"""Records that the caller gets as an error instead."""

from safer_server.errors import (
    AuditUnavailableError,
    ContentFilterError,
    FailedClosedError,
    GuardUnavailableError,
    UpstreamFaultError,
    UpstreamRejectedError,
)
from safer_server.record import Failure, Outcome, Record
from safer_server.wire.request import CheckOptions


def raise_for(record: Record, options: CheckOptions) -> None:
    """Raise the error that the caller gets instead of this record."""
    match record.failure:
        case Failure.ENGINE_UNAVAILABLE:
            raise GuardUnavailableError("The guard is not available.")
        case Failure.AUDIT_UNAVAILABLE:
            raise AuditUnavailableError("The case cannot be recorded.")
        case Failure.UPSTREAM_FAULT:
            raise UpstreamFaultError("The model behind this guard gave no whole reply.")
        case Failure.UPSTREAM_REJECTED:
            raise UpstreamRejectedError("The model behind this guard does not take this request.")
    if options.block == "error":
        if record.outcome is Outcome.REFUSED:
            raise ContentFilterError("The guard refused this request.")
        if record.outcome is Outcome.FAILED_CLOSED:
            raise FailedClosedError("The guard came to no verified decision.")
