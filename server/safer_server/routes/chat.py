"""`POST /v1/chat/completions`."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from safer_protocol.decision import Decision
from safer_server.body import ClientLimits, read_model
from safer_server.completion import Completion
from safer_server.disconnect import while_connected
from safer_server.errors import ContentFilterError, FailedClosedError, GuardUnavailableError
from safer_server.events import Decided, Event, Finished, Reasoning
from safer_server.record import Failure, Outcome, Record
from safer_server.service import Service
from safer_server.stream import EventStream, chunks
from safer_server.view import show_line
from safer_server.wire.request import ChatRequest, SaferOptions

_CLIENT_GONE = 499
"""Nobody reads it; it is what access logs call a client that went away."""


def chat_router(service: Service, client: ClientLimits) -> APIRouter:
    """Serve chat completions."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def create(request: Request) -> Response:
        body = await read_model(request, ChatRequest, client)
        service.intake.check(body)
        options = body.safer or SaferOptions()
        completion = Completion(service.intake.model, service.intake.policy(options), options.trace)
        events = service.chat(body)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(aclosing(events))
            try:
                # Up to the head an error still has a status of its own; a stream is answered with 200 from there on.
                head = await while_connected(request, _head(events, bool(body.stream), options))
            except ClientDisconnect:
                return Response(status_code=_CLIENT_GONE)
            if isinstance(head[-1], Finished):
                _raise_for(head[-1].record, options)
            if body.stream:
                stack.pop_all()  # the stream closes the events
                include_usage = body.stream_options is not None and body.stream_options.include_usage
                frames = chunks(_resumed(head, events), completion, include_usage=include_usage)
                return EventStream(frames, events, client.seconds)
            return JSONResponse(_whole(head, completion))

    return router


async def _head(events: AsyncGenerator[Event, None], stream: bool, options: SaferOptions) -> list[Event]:
    """Take events until it is clear with what status to answer: at the end, or for a stream as soon as may be."""
    head: list[Event] = []
    async for event in events:
        head.append(event)
        allowed = isinstance(event, Decided) and event.decision is not Decision.REFUSE
        if stream and (options.block == "refusal" or allowed):
            return head
    return head


async def _resumed(head: list[Event], events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    for event in head:
        yield event
    async for event in events:
        yield event


def _raise_for(record: Record, options: SaferOptions) -> None:
    """Raise the error that the caller gets instead of this record."""
    if record.failure is Failure.ENGINE_UNAVAILABLE:
        raise GuardUnavailableError("The guard is not available.")
    if options.block == "error":
        if record.outcome is Outcome.REFUSED:
            raise ContentFilterError("The guard refused this request.")
        if record.outcome is Outcome.FAILED_CLOSED:
            raise FailedClosedError("The guard came to no verified decision.")


def _whole(events: list[Event], completion: Completion) -> object:
    lines = [show_line(event, completion.view, completion.toolkit) for event in events if isinstance(event, Reasoning)]
    last = events[-1]
    if not isinstance(last, Finished):
        raise RuntimeError("a case ended without a record")
    return completion.whole(last.record, "".join(lines)).model_dump(mode="json")
