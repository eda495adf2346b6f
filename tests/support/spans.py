"""Spans as tests look at them: a tree of names, by the request that they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from waiting import wait_for


def id_of(span: ReadableSpan) -> int:
    """The span's own id."""
    assert span.context is not None
    return int(span.context.span_id)


@dataclass(frozen=True)
class Trace:
    """All spans of one request."""

    spans: tuple[ReadableSpan, ...]

    @property
    def root(self) -> ReadableSpan:
        """The request's span."""
        return next(span for span in self.spans if span.kind is SpanKind.SERVER)

    def named(self, name: str) -> ReadableSpan:
        """The one span of that name."""
        (found,) = (span for span in self.spans if span.name == name)
        return found

    def children(self, span: ReadableSpan) -> list[ReadableSpan]:
        """The spans right below, in the order of their starts; of two that start together the longer goes first."""
        below = [each for each in self.spans if each.parent is not None and each.parent.span_id == id_of(span)]
        return sorted(below, key=lambda each: (each.start_time or 0, -(each.end_time or 0)))

    def tree(self, span: ReadableSpan | None = None) -> Any:
        """Names, and below them the names of the children."""
        span = span or self.root
        children = [self.tree(child) for child in self.children(span)]
        return (span.name, *children) if children else span.name


class Collected(InMemorySpanExporter):
    """An exporter that keeps what it is given."""

    def traces(self, wanted: int = 1) -> Sequence[Trace]:
        """Wait for so many whole requests; a request's span is the last of its trace to end."""

        def roots() -> list[ReadableSpan]:
            return [span for span in self.get_finished_spans() if span.kind is SpanKind.SERVER]

        wait_for(lambda: len(roots()) >= wanted)
        found = self.get_finished_spans()
        ids = [span.context.trace_id for span in roots() if span.context is not None]
        return [Trace(tuple(span for span in found if span.context and span.context.trace_id == each)) for each in ids]

    def trace(self) -> Trace:
        """Wait for the one request."""
        (found,) = self.traces()
        return found
