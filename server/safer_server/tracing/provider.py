"""Tracing as the app uses it, and where its spans go."""

from importlib.metadata import version

import anyio.to_thread
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import get_current_span
from starlette.types import ASGIApp

from safer_server.engines.base import Engine
from safer_server.guard import Guard
from safer_server.record import Record
from safer_server.tracing.guard import TracedGuard
from safer_server.tracing.requests import RequestSpans
from safer_server.tracing.spans import fail
from safer_server.tracing.upstream import TracedUpstream
from safer_server.upstream import Upstream

_NAME = "safer-toolkit"


class Tracing:
    """Makes spans and sends them by OTLP over HTTP, in batches, in a thread of its own: nobody waits for the collector.

    Endpoint, sampling, resource and batches are taken from the standard `OTEL_` variables.
    """

    def __init__(self) -> None:
        resource = Resource.create({SERVICE_VERSION: version(_NAME)})
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: _NAME}))
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("safer_server", version(_NAME))

    def guard(self, engine: Engine, seconds: float) -> Guard:
        """Make a guard whose judgements are traced."""
        return TracedGuard(engine, seconds, self._tracer)

    def upstream(self, url: str, key: str | None, model: str, seconds: float) -> Upstream:
        """Make a client for the model behind this server whose requests are traced."""
        return TracedUpstream(url, key, model, seconds, self._tracer)

    def requests(self, app: ASGIApp) -> RequestSpans:
        """Make the middleware that traces requests, to stand within the edge."""
        return RequestSpans(app, self._tracer)

    def observe(self, record: Record) -> None:
        """Tell the span of the request in hand how its case ended."""
        span = get_current_span()
        span.set_attribute("safer.outcome", record.outcome)
        if record.failure is not None:
            fail(span, record.failure)

    async def close(self) -> None:
        """Send what is left; with a collector that does not answer that takes until the exporter's timeout."""
        await anyio.to_thread.run_sync(self._provider.shutdown)
