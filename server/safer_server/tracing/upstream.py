"""The span of a request to the model behind this server."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from opentelemetry.trace import SpanKind, Tracer

from safer_protocol.prompt import Turn
from safer_server.outgoing import sending
from safer_server.record import Failure
from safer_server.tracing.spans import cancel, fail, headers_of
from safer_server.upstream import Upstream, UpstreamError, UpstreamPiece, UpstreamRejectedError, UpstreamRequest


class TracedUpstream(Upstream):
    """A client that makes a span for each request, whose context goes with it."""

    def __init__(self, url: str, key: str | None, model: str, seconds: float, tracer: Tracer) -> None:
        super().__init__(url, key, model, seconds)
        self._tracer = tracer

    async def stream(self, turns: Sequence[Turn], request: UpstreamRequest) -> AsyncGenerator[UpstreamPiece, None]:
        """Yield the reply as it is written."""
        span = self._tracer.start_span(
            f"chat {self.model}",
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": self.model,
                "gen_ai.request.stream": True,
            },
        )
        began, waits, finished = time.perf_counter(), True, False
        try:
            async with aclosing(sending(headers_of(span), super().stream(turns, request))) as pieces:
                async for piece in pieces:
                    if waits and piece.text:
                        waits = False
                        span.set_attribute("gen_ai.response.time_to_first_chunk", time.perf_counter() - began)
                    if piece.finish is not None:
                        span.set_attribute("gen_ai.response.finish_reasons", (piece.finish,))
                    if piece.tokens:
                        span.set_attribute("gen_ai.usage.input_tokens", piece.prompt_tokens)
                        span.set_attribute("gen_ai.usage.output_tokens", piece.tokens)
                    yield piece
            finished = True
        except UpstreamError as error:
            finished = True
            is_rejected = isinstance(error, UpstreamRejectedError)
            fail(span, Failure.UPSTREAM_REJECTED if is_rejected else Failure.UPSTREAM_FAULT)
            raise
        finally:
            if not finished:
                cancel(span)
            span.end()
