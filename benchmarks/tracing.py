"""What tracing costs a request: CPU time of one app without it, with it, and with it for requests that are not sampled.

Requests go to the apps in turns, in this process and without a network; the scripted engine takes no time to write. Spans are
encoded as they would be sent, in the thread that sends them, and dropped.

    make bench-tracing
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

import httpx
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

import safer_server.tracing.provider
from safer_server.app import create_app
from safer_server.engines.scripted import ScriptedEngine
from safer_server.settings import Settings

ROUNDS, REQUESTS = 15, 40
BODY = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
WAYS: dict[str, tuple[bool, str]] = {"off": (False, "01"), "on": (True, "01"), "on, not sampled": (True, "00")}


class Encoded(SpanExporter):
    """Encodes spans and drops them."""

    count = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take a batch."""
        encode_spans(spans).SerializeToString()
        self.count += len(spans)
        return SpanExportResult.SUCCESS


async def spend(client: httpx.AsyncClient, requests: int) -> float:
    """CPU time of a request in microseconds, all threads together."""
    began = time.process_time()
    for _ in range(requests):
        (await client.post("/v1/chat/completions", json=BODY)).raise_for_status()
    return (time.process_time() - began) / requests * 1e6


async def measure(exporter: Encoded) -> None:
    """Measure the ways in turns and print their medians."""
    clients: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        for name, (tracing, sampled) in WAYS.items():
            app = create_app(Settings(tracing=tracing), ScriptedEngine(characters=64))
            await stack.enter_async_context(app.router.lifespan_context(app))
            transport, headers = httpx.ASGITransport(app), {"traceparent": TRACE + sampled}
            client = httpx.AsyncClient(transport=transport, base_url="http://guard", headers=headers)
            clients[name] = await stack.enter_async_context(client)
            await spend(client, REQUESTS)
        spent: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(ROUNDS):
            for name, client in clients.items():
                spent[name].append(await spend(client, REQUESTS))
    spans = exporter.count / (REQUESTS * (ROUNDS + 1))
    for name, times in spent.items():
        print(f"{name:16} {median(times):6.0f} us, {median(times) / median(spent['off']):.2f} of off")
    print(f"{spans:.0f} spans a request")


if __name__ == "__main__":
    exporter = Encoded()
    safer_server.tracing.provider.OTLPSpanExporter = lambda: exporter  # type: ignore[assignment, misc]
    asyncio.run(measure(exporter))
