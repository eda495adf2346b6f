"""A completion as server-sent events: role, plan and trace, then the answer or refusal, the end, usage, `[DONE]`."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Message, Receive, Scope, Send

from safer_server.completion import Completion, usage_of
from safer_server.errors import FailedClosedError
from safer_server.events import Decided, Delivered, Event, Finished, Reasoning
from safer_server.record import Outcome, Record
from safer_server.view import show_line
from safer_server.wire.response import ChatCompletionChunk, ChunkChoice, Delta

logger = logging.getLogger(__name__)

DONE = format_sse_event(data_str="[DONE]")


class EventStream(EventSourceResponse):
    """A stream of frames whose source is closed at once when the client goes away or stops reading, even before the first."""

    def __init__(
        self, frames: AsyncGenerator[bytes, None], source: AsyncGenerator[Event, None], client_seconds: float
    ) -> None:
        super().__init__(frames, headers={"X-Accel-Buffering": "no"})
        self._frames = frames
        self._source = source
        self._client_seconds = client_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all frames, or stop where the client takes too long for one: the server then closes the connection."""

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._client_seconds):
                    await send(message)
            except TimeoutError:
                raise _StalledError from None

        try:
            await super().__call__(scope, receive, send_in_time)
        except _StalledError:
            logger.warning("the client read nothing for %g seconds", self._client_seconds)

    async def stream_response(self, send: Send) -> None:
        """Send all frames, and close their source whatever happens."""
        async with aclosing(self._source), aclosing(self._frames):
            await super().stream_response(send)


class _StalledError(Exception):
    """The client has not taken what was sent."""


async def chunks(
    events: AsyncGenerator[Event, None], completion: Completion, *, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a completion.

    If it fails closed after part of an answer was sent, the last is an error and `[DONE]` is not sent.
    """
    sent = False
    async with aclosing(events):
        yield _frame(completion.delta(Delta(role="assistant")), include_usage)
        async for event in events:
            match event:
                case Reasoning():
                    line = show_line(event, completion.view, completion.toolkit)
                    if line:
                        delta = Delta(reasoning=line, reasoning_content=line)
                        yield _frame(completion.delta(delta), include_usage)
                case Decided():
                    pass
                case Delivered():
                    sent = True
                    delta = Delta(refusal=event.text) if event.is_refusal else Delta(content=event.text)
                    yield _frame(completion.delta(delta), include_usage)
                case Finished(record):
                    failed = record.outcome is Outcome.FAILED_CLOSED
                    if failed and sent:
                        fault = FailedClosedError("The reply became invalid. What was sent of it is void.")
                        yield _encode(fault.envelope.model_dump(mode="json"))
                        return
                    if failed:
                        yield _frame(completion.delta(Delta(refusal=record.refusal)), include_usage)
                    for frame in _end(record, completion, include_usage):
                        yield frame


def _end(record: Record, completion: Completion, include_usage: bool) -> list[bytes]:
    """The chunk that says why it ends, which carries `safer` for those who do not ask for usage, then usage, then the end."""
    last = completion.chunk(ChunkChoice(delta=Delta(), finish_reason=record.finish_reason))
    last.safer = completion.safer(record)
    frames = [_frame(last, include_usage)]
    if include_usage:
        usage = completion.chunk()
        usage.usage, usage.safer, usage.moderation = usage_of(record), last.safer, completion.moderation(record)
        frames.append(_frame(usage, include_usage))
    return [*frames, DONE]


def _frame(chunk: ChatCompletionChunk, include_usage: bool) -> bytes:
    """Write a chunk; who asked for usage gets the key in every one of them."""
    return _encode(chunk.model_dump(mode="json", exclude=None if include_usage else {"usage"}))


def _encode(data: object) -> bytes:
    """Frame an object; escaped to ASCII, since the framing would take U+2028 and its like for line ends."""
    return format_sse_event(data_str=json.dumps(data, separators=(",", ":")))
