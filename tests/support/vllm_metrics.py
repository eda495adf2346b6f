"""A vLLM server's metrics without a vLLM; `tests/vllm/test_dashboard.py` holds their names and labels to a real one's."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()
_LABELS = ("engine", "model_name")
GAUGES = [
    Gauge(f"vllm:{name}", name, _LABELS, registry=REGISTRY)
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
]
COUNTERS = [
    Counter(f"vllm:{name}", name, _LABELS, registry=REGISTRY)
    for name in (
        "num_preemptions",
        "prompt_tokens",
        "generation_tokens",
        "prefix_cache_queries",
        "prefix_cache_hits",
        "mm_cache_queries",
        "mm_cache_hits",
    )
]
FINISHED = Counter("vllm:request_success", "finished", (*_LABELS, "finished_reason"), registry=REGISTRY)
HISTOGRAMS = [
    Histogram(f"vllm:{name}", name, _LABELS, registry=REGISTRY)
    for name in (
        "time_to_first_token_seconds",
        "inter_token_latency_seconds",
        "e2e_request_latency_seconds",
        "request_queue_time_seconds",
        "request_prefill_time_seconds",
        "request_decode_time_seconds",
    )
]


@dataclass(frozen=True)
class VllmMetrics:
    """Where they are served."""

    address: str

    def work(self) -> None:
        """Count as if a request had been served."""
        for gauge in GAUGES:
            gauge.labels("0", "guard").set(0.5)
        for counter in COUNTERS:
            counter.labels("0", "guard").inc()
        FINISHED.labels("0", "guard", "stop").inc()
        for histogram in HISTOGRAMS:
            histogram.labels("0", "guard").observe(0.2)


class _Exposition(BaseHTTPRequestHandler):
    """Answers in plain text whatever is asked for, as vLLM does; OpenMetrics would have no colons."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4; charset=utf-8")
        self.end_headers()
        self.wfile.write(generate_latest(REGISTRY))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def vllm_metrics() -> Iterator[VllmMetrics]:
    """Serve them on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Exposition) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield VllmMetrics(f"127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
