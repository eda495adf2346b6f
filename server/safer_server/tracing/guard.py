"""The spans of a judgement: the engine's work, and within it plan, tool calls, decision and answer."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from opentelemetry.trace import Span, SpanKind, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from safer_protocol.decision import Decision
from safer_protocol.plan import HEAD_KEYS
from safer_protocol.trace import Call
from safer_server.case import Case
from safer_server.engines.base import ContextLengthError, Engine
from safer_server.events import Decided, Delivered, Event, Finished, Reasoning
from safer_server.guard import Guard
from safer_server.outgoing import sending
from safer_server.record import Failure, Record
from safer_server.tracing.spans import cancel, fail, headers_of

_ENGINES_OWN = (Failure.ENGINE_FAULT, Failure.ENGINE_UNAVAILABLE, Failure.TIMEOUT)
"""Failures that are told of the engine's span, too; after the others it had done its work."""


@dataclass(frozen=True)
class TracedGuard(Guard):
    """A guard that makes a span for each judgement, of a request or of a reply; the engine's context goes with its requests."""

    tracer: Tracer

    async def judge(self, case: Case, waited: float = 0.0) -> AsyncGenerator[Event, None]:
        """Do as the guard does."""
        spans = _Judgement(self.tracer, self.engine, case, waited)
        try:
            async with aclosing(sending(headers_of(spans.engine), super().judge(case, waited))) as events:
                async for event in events:
                    spans.take(event)
                    yield event
        except ContextLengthError:
            spans.refuse("context_length_exceeded")
            raise
        finally:
            spans.end()


class _Judgement:
    """Two spans that are open while a case goes on; the stages are written at its end, with the times at which they were seen."""

    def __init__(self, tracer: Tracer, engine: Engine, case: Case, waited: float) -> None:
        self._tracer = tracer
        self._toolkit = case.policy.toolkit
        self._start = time.time_ns()
        self._waited = int(waited * 1e9)
        self._span = tracer.start_span(
            f"judge {case.subject}",
            attributes={
                "safer.subject": case.subject,
                "safer.policy": case.policy.name,
                "safer.modality": case.modality,
            },
            start_time=self._start,
        )
        self.engine = self._begin_engine(engine)
        self._planned: int | None = None
        self._calls: list[tuple[str, int]] = []
        """Tools with the times at which their calls were complete."""
        self._decided: tuple[Decision, int] | None = None
        self._record: Record | None = None
        self._refused = False

    def _begin_engine(self, engine: Engine) -> Span:
        return self._tracer.start_span(
            f"chat {engine.model}",
            set_span_in_context(self._span),
            # The others work in this process.
            SpanKind.CLIENT if engine.name == "vllm-http" else SpanKind.INTERNAL,
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": engine.name.removesuffix("-http"),
                "gen_ai.request.model": engine.model,
                "gen_ai.request.stream": True,
            },
            start_time=self._start,
        )

    def take(self, event: Event) -> None:
        """Note when it happened."""
        match event:
            case Reasoning(call=None):
                if not self._calls:
                    self._planned = time.time_ns()
            case Reasoning(call=Call() as call):
                self._calls.append((call.tool, time.time_ns()))
            case Decided(decision):
                self._decided = decision, time.time_ns()
            case Delivered():
                pass
            case Finished(record):
                self._record = record

    def refuse(self, reason: str) -> None:
        """Note that there is no record and why; if a shorter conversation is judged next, the time in the queue is told then."""
        self._waited, self._refused = 0, True
        fail(self._span, reason)
        fail(self.engine, reason)

    def end(self) -> None:
        """Write the stages and end the spans."""
        now, record = time.time_ns(), self._record
        if self._waited:
            self._tracer.start_span("queue", start_time=self._start - self._waited).end(self._start)
        self._write_stages(now)
        if record is not None:
            self._tell(record)
        elif not self._refused:
            cancel(self._span)
            cancel(self.engine)
        self.engine.end(now)
        self._span.end(now)

    def _write_stages(self, now: int) -> None:
        record, since = self._record, self._start
        plan = None if record is None else record.plan
        if self._planned is not None and (self._calls or plan is not None):
            head = {} if plan is None else {f"safer.plan.{key}": str(getattr(plan, key)) for key in HEAD_KEYS}
            self._write("plan", since, self._planned, {"gen_ai.operation.name": "plan", **head})
            since = self._planned
        for number, (tool, seen) in enumerate(self._calls, 1):
            attributes: dict[str, AttributeValue] = {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": tool,
                "safer.stage": self._toolkit.tool(tool).stage,
                "safer.step": number,
            }
            self._write(f"execute_tool {tool}", since, seen, attributes)
            since = seen
        if self._decided is not None:
            decision, seen = self._decided
            self._write("decision", since, seen, {"safer.decision": decision, **_verdict_of(record)})
            if record is None or not record.is_check:
                self._write("answer", seen, now, {} if record is None else {"safer.tokens": record.tokens.answer})

    def _write(self, name: str, start: int, end: int, attributes: Mapping[str, AttributeValue]) -> None:
        context = set_span_in_context(self._span)
        self._tracer.start_span(name, context, attributes=attributes, start_time=start).end(end)

    def _tell(self, record: Record) -> None:
        self._span.set_attributes({"safer.trace_id": record.trace_id, "safer.outcome": record.outcome})
        reasoning = record.tokens.plan + record.tokens.trace
        self.engine.set_attributes(
            {
                "gen_ai.usage.input_tokens": record.tokens.prompt,
                "gen_ai.usage.output_tokens": reasoning + record.tokens.answer,
                "gen_ai.usage.reasoning.output_tokens": reasoning,
            }
        )
        if record.origin is not None:
            origin = {"safer.replica": record.origin.replica, "safer.constraint": record.origin.constraint}
            self.engine.set_attributes(origin)
        if record.failure is not None:
            fail(self._span, record.failure)
            if record.failure in _ENGINES_OWN:
                fail(self.engine, record.failure)


def _verdict_of(record: Record | None) -> Mapping[str, str]:
    if record is None:
        return {}
    finding = record.finding
    found = {} if finding is None else {"safer.category": finding.category, "safer.severity": finding.severity}
    return {**found, "safer.outcome": record.outcome}
