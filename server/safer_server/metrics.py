"""Prometheus metrics of one app; every label is a closed set, nothing that a caller wrote becomes one.

`docs/metrics.md` lists every metric. Where `PROMETHEUS_MULTIPROC_DIR` is set, prometheus_client keeps the numbers of every
process in files there, and each process shows the sum over all of them.
"""

import asyncio
import os
from functools import partial
from importlib.metadata import version
from itertools import product
from typing import TYPE_CHECKING, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from safer_protocol.decision import Decision, Risk
from safer_protocol.policy import DEFAULT_POLICY
from safer_protocol.violation import Code
from safer_server.case import Modality
from safer_server.engines.base import Constrained, Engine
from safer_server.policies import Policies
from safer_server.record import Failure, Finding, Outcome, Record

if TYPE_CHECKING:
    from safer_protocol.constrain.cache import Held

Endpoint = Literal["chat", "checks", "moderations", "litellm"]

SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client knows, when it is imported, that several processes share their numbers."""

_REFRESH_SECONDS = 5

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
_STEPS = tuple(range(1, 11))
_KINDS = ("prompt", "plan", "trace", "answer")


class Metrics:
    """All metrics, in a registry of their own; what is shown is that, or the sum over the processes that share theirs."""

    def __init__(self, engine: Engine, policies: Policies) -> None:
        self.registry = CollectorRegistry()
        self._is_shared = SHARED_DIRECTORY in os.environ
        self._engine = engine
        counter = partial(Counter, registry=self.registry)
        seconds = partial(Histogram, registry=self.registry, buckets=_SECONDS)
        gauge = partial(Gauge, registry=self.registry)

        self._requests = counter(
            "safer_requests", "Cases closed, by how they ended.", ("endpoint", "outcome", "policy")
        )
        self._decisions = counter(
            "safer_decisions", "Verified decisions.", ("decision", "category", "modality", "policy", "model")
        )
        self._by_severity = counter(
            "safer_decisions_by_severity",
            "Verified decisions, by how severe the trace holds the case to be.",
            ("decision", "severity", "policy"),
        )
        self._by_tool = counter(
            "safer_decisions_by_tool", "Verified decisions, once for each tool in the trace.", ("decision", "tool")
        )
        self._failures = counter("safer_failed_closed", "Cases that failed closed, by reason.", ("reason",))
        self._turned_away = counter("safer_turned_away", "Requests turned away because the queue was full.")
        self._constrained = counter(
            "safer_constrained", "Cases that an engine wrote, by what constrained it.", ("constraint",)
        )
        self._violations = counter("safer_trace_violations", "Failed replies, by what was wrong with them.", ("code",))
        self._tool_calls = counter("safer_tool_calls", "Calls in verified traces.", ("tool",))
        self._tokens = counter("safer_tokens", "Tokens read and written.", ("kind",))

        self._request_seconds = seconds("safer_request_seconds", "From arrival to the end.", ("endpoint", "outcome"))
        self._stage_seconds = seconds("safer_stage_seconds", "In the queue, and writing each section.", ("stage",))
        self._decision_seconds = seconds("safer_time_to_decision_seconds", "From arrival to the verified decision.")
        self._engine_seconds = seconds("safer_engine_request_seconds", "Spent on the engine's work.", ("replica",))
        self._steps = Histogram(
            "safer_trace_steps", "Calls in a verified trace.", buckets=_STEPS, registry=self.registry
        )

        self._compile_seconds = seconds(
            "safer_grammar_compile_seconds", "Loading (hit) or compiling (miss) a block of the grammar.", ("cache",)
        )
        self._constraint_bytes = gauge(
            "safer_constraint_bytes", "Memory of the compiled grammar.", multiprocess_mode="livesum"
        )
        self._engine_up = gauge(
            "safer_engine_up", "Whether the engine answers.", ("replica",), multiprocess_mode="livemin"
        )
        self._canary_passed = gauge(
            "safer_canary_passed",
            "Whether a request of the server's own came back verified.",
            multiprocess_mode="livemin",
        )
        self._in_flight = gauge("safer_in_flight", "Requests being worked on.", multiprocess_mode="livesum")
        self._queue_depth = gauge("safer_queue_depth", "Requests waiting for a slot.", multiprocess_mode="livesum")
        build = gauge(
            "safer_build_info",
            "What is running; always 1.",
            ("version", "protocol_hash", "model", "engine"),
            multiprocess_mode="livemax",
        )
        build.labels(version("safer-toolkit"), policies[DEFAULT_POLICY].protocol_hash, engine.model, engine.name).set(1)
        self._announce(policies)
        if isinstance(engine, Constrained):
            self._observe_start(engine.blocks.held)

    def _announce(self, policies: Policies) -> None:
        """Create the series at zero: a rate does not see the step with which a series first appears."""
        for endpoint, outcome, name in product(get_args(Endpoint), Outcome, policies):
            self._requests.labels(endpoint, outcome, name)
        for name, policy in policies.items():
            kit = policy.toolkit
            for decision, category, modality in product(Decision, kit.category_by_name, get_args(Modality)):
                self._decisions.labels(decision, category, modality, name, self._engine.model)
            for decision, severity in product(Decision, Risk):
                self._by_severity.labels(decision, severity, name)
            for decision, tool in product(Decision, kit.by_name):
                self._by_tool.labels(decision, tool)
            for tool in kit.by_name:
                self._tool_calls.labels(tool)
        for failure in Failure:
            self._failures.labels(failure)
        for code in Code:
            self._violations.labels(code)
        for kind in _KINDS:
            self._tokens.labels(kind)
        for cache in ("hit", "miss"):
            self._compile_seconds.labels(cache)

    def _observe_start(self, held: "Held") -> None:
        """Count the blocks that the engine loaded and compiled when it was opened."""
        for cache, times in (("hit", held.loaded), ("miss", held.compiled)):
            for spent in times:
                self._compile_seconds.labels(cache).observe(spent)

    def show_load(self, in_flight: int, waiting: int) -> None:
        """Take how many requests this process works on, and how many wait."""
        self._in_flight.set(in_flight)
        self._queue_depth.set(waiting)

    def show_canary(self, passed: bool) -> None:
        """Take whether this process has passed its canary."""
        self._canary_passed.set(passed)

    def count_turned_away(self) -> None:
        """Count a request for which there was no room."""
        self._turned_away.inc()

    def observe(self, record: Record, endpoint: Endpoint) -> None:
        """Count a closed case."""
        timings, outcome = record.timings, record.outcome
        self._requests.labels(endpoint, outcome, record.policy.name).inc()
        self._request_seconds.labels(endpoint, outcome).observe(timings.total / 1000)
        for stage in ("queue", "plan", "trace", "answer"):
            spent: float | None = getattr(timings, stage)
            if spent is not None:
                self._stage_seconds.labels(stage).observe(spent / 1000)
        if record.origin is not None:
            # Another model may have answered after a check.
            worked = timings.decision if record.is_check and timings.decision is not None else timings.total
            self._engine_seconds.labels(record.origin.replica).observe((worked - timings.queue) / 1000)
            self._constrained.labels(record.origin.constraint).inc()
        for kind in _KINDS:
            self._tokens.labels(kind).inc(getattr(record.tokens, kind))
        if record.failure is not None:
            self._failures.labels(record.failure).inc()
            for code in {violation.code for violation in record.report.violations}:
                self._violations.labels(code).inc()
        if record.decision is not None and timings.decision is not None:
            self._decision_seconds.observe(timings.decision / 1000)
        for judged in (record, record.reply):
            if judged is not None and judged.decision is not None and judged.finding is not None:
                self._observe_decision(judged, judged.decision, judged.finding)

    def _observe_decision(self, record: Record, decision: Decision, finding: Finding) -> None:
        policy = record.policy.name
        self._decisions.labels(decision, finding.category, record.modality, policy, self._engine.model).inc()
        self._by_severity.labels(decision, finding.severity, policy).inc()
        for tool in {call.tool for call in record.trace}:
            self._by_tool.labels(decision, tool).inc()
        self._steps.observe(len(record.trace))
        for call in record.trace:
            self._tool_calls.labels(call.tool).inc()

    def render(self) -> bytes:
        """Write all metrics in Prometheus' text format."""
        self._refresh()
        if not self._is_shared:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    async def keep_fresh(self) -> None:
        """Keep this engine's health current for the other processes; one that shares nothing looks when it is asked."""
        while self._is_shared:
            self._refresh()
            await asyncio.sleep(_REFRESH_SECONDS)

    def _refresh(self) -> None:
        for replica in self._engine.replicas():
            self._engine_up.labels(replica.name).set(replica.up)
        if isinstance(self._engine, Constrained):
            self._constraint_bytes.set(self._engine.blocks.held.nbytes)
