"""The span of a request: what came over HTTP, from whom, and with what status it was answered."""

import asyncio

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span, SpanKind, Tracer, use_span
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safer_server.tracing.spans import W3C, cancel, fail

_PROBES = ("/healthz", "/readyz", "/metrics")
"""Asked every few seconds by machines, and not traced."""

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


class RequestSpans:
    """Stands within the edge, which has given the request its id; the caller's span is the parent where one is named."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        # An empty context: with a connection that is kept, the current one may be that of the request before.
        parent = W3C.extract(Headers(scope=scope), Context())
        span = self._tracer.start_span(method, parent, SpanKind.SERVER, {"http.request.method": method})
        ids = span.get_span_context()
        scope["state"].update(trace_id=f"{ids.trace_id:032x}", span_id=f"{ids.span_id:016x}")

        async def send_with_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                _take_status(span, message["status"])
            await send(message)

        with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                await self._app(scope, receive, send_with_status)
            except (ClientDisconnect, asyncio.CancelledError):
                cancel(span)
                raise
            except Exception as error:
                fail(span, type(error).__qualname__)  # its message may hold what the caller wrote
                raise
            finally:
                _describe(span, method, scope)


def _take_status(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 500 and isinstance(span, ReadableSpan) and span.status.is_unset:
        fail(span, str(status))


def _describe(span: Span, method: str, scope: Scope) -> None:
    """Add what is known once the request has been routed and its key looked at; the path itself is the caller's text."""
    if (route := scope.get("route")) is not None:
        span.update_name(f"{method} {route.path}")
        span.set_attribute("http.route", route.path)
    for name in ("request_id", "caller"):
        if (value := scope["state"].get(name)) is not None:
            span.set_attribute(f"safer.{name}", value)
