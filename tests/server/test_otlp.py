"""Sending spans: to a real receiver by OTLP over HTTP, at the end of the server as well, and to one that does not answer."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from collector import collecting, texts
from safer_server.app import create_app
from safer_server.engines.scripted import ScriptedEngine
from safer_server.settings import Settings
from waiting import PATIENCE

PATH = "/v1/chat/completions"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("name", [None, "guard-eu"])
def test_a_receiver_gets_all_spans_before_the_server_ends(
    chat_body: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    if name is not None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=mine")
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with TestClient(create_app(Settings(tracing=True), ScriptedEngine())) as client:
            client.post(PATH, json=chat_body("steal"), headers={"traceparent": PARENT})
        assert {headers["x-tenant"] for headers in collector.headers} == {"mine"}
        assert collector.resource["service.name"] == (name or "safer-toolkit")
        assert collector.resource["service.version"]
        names = [span.name for span in collector.spans]
        assert names[0] == "queue"
        assert names[-1] == f"POST {PATH}"
        assert len(names) == 11
        assert {span.trace_id.hex() for span in collector.spans} == {PARENT[3:35]}
        assert collector.spans[-1].parent_span_id.hex() == PARENT[36:52]
        (decision,) = (span for span in collector.spans if span.name == "decision")
        assert texts(decision.attributes)["safer.category"] == "nonviolent_crimes"
        assert decision.start_time_unix_nano <= decision.end_time_unix_nano


def test_requests_do_not_wait_for_a_receiver(
    in_process: Callable[..., TestClient], chat_body: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging(InMemorySpanExporter):
        """Takes the first spans, and no more until it is released."""

        taking, released = threading.Event(), threading.Event()

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            self.taking.set()
            assert self.released.wait(PATIENCE)
            return super().export(spans)

    exporter = Hanging()
    monkeypatch.setattr("safer_server.tracing.provider.OTLPSpanExporter", lambda: exporter)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")  # two requests fill it
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    client = in_process(tracing=True)
    for number in range(12):
        assert client.post(PATH, json=chat_body("hello")).json()["safer"]["outcome"] == "answered"
        assert number or exporter.taking.wait(PATIENCE)
    exporter.released.set()


@pytest.mark.parametrize("listens", [False, True])
def test_a_receiver_that_is_down_fails_no_request_and_does_not_keep_the_server(
    chat_body: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if listens:
            listener.listen()  # takes connections and says nothing
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        with TestClient(create_app(Settings(tracing=True), ScriptedEngine())) as client:
            assert client.post(PATH, json=chat_body("hello")).json()["safer"]["outcome"] == "answered"
            ended = time.perf_counter()
        assert time.perf_counter() - ended < 40
