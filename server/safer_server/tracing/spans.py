"""What all spans have in common: how they fail, how they are ended early, and how they are named to other servers."""

from collections.abc import Mapping

from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

W3C = TraceContextTextMapPropagator()


def fail(span: Span, reason: str) -> None:
    """End in an error; the reason is a word of a closed set."""
    span.set_attribute("error.type", reason)
    span.set_status(Status(StatusCode.ERROR, reason))


def cancel(span: Span) -> None:
    """Note that nobody waited for the end; that is no error of the server's."""
    span.set_attribute("safer.cancelled", True)


def headers_of(span: Span) -> Mapping[str, str]:
    """Write `traceparent`, and `tracestate` where there is one."""
    headers: dict[str, str] = {}
    W3C.inject(headers, set_span_in_context(span))
    return headers
