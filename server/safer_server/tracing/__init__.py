"""Traces in OpenTelemetry's terms: a span for each request, judgement, stage of a judgement, and request that is sent on.

Names follow the semantic conventions for HTTP and GenAI where these have one and begin with `safer.` where not. Attributes are
numbers, ids and words of closed sets: nothing of what anybody said. Only the modules of this package import OpenTelemetry, and
they are imported only where tracing is on.
"""

from typing import TYPE_CHECKING

from safer_server.engines.table import MissingExtraError

if TYPE_CHECKING:
    from safer_server.tracing.provider import Tracing


def check_tracing() -> None:
    """Raise `MissingExtraError` where OpenTelemetry is not installed."""
    try:
        import safer_server.tracing.provider  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"tracing needs {error.name}: pip install 'safer-toolkit[otel]'") from None


def open_tracing() -> "Tracing":
    """Begin to trace; raise `MissingExtraError`."""
    check_tracing()
    from safer_server.tracing.provider import Tracing

    return Tracing()
