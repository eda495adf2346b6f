"""`POST /v1/chat/completions`."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from safer_server.body import ClientLimits, JsonBody
from safer_server.completion import Completion
from safer_server.disconnect import while_connected
from safer_server.edge import CLIENT_GONE
from safer_server.events import Delivered, Event, Finished, Reasoning
from safer_server.openapi import stream_of
from safer_server.routes.blocks import raise_for
from safer_server.service import Service
from safer_server.source import Source
from safer_server.stream import EventStream, chunks
from safer_server.view import show_line
from safer_server.wire.request import ChatRequest, SaferOptions
from safer_server.wire.response import ChatCompletion, ChatCompletionChunk


def chat_router(service: Service, client: ClientLimits) -> APIRouter:
    """Serve chat completions."""
    router = APIRouter()
    chat = JsonBody(ChatRequest, client)

    @router.post(
        "/v1/chat/completions",
        openapi_extra=chat.openapi,
        response_model=ChatCompletion,
        responses={200: stream_of(ChatCompletionChunk)},
    )
    async def create(request: Request) -> Response:
        body = await chat.read(request)
        submission = service.intake.chat(body)
        options = body.safer or SaferOptions()
        completion = Completion(body.model, service.intake.model, submission.policy, options.trace)
        events = service.judge(submission, Source.of(request, "chat"))
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(aclosing(events))
            try:
                # Up to the head an error still has a status of its own; a stream is answered with 200 from there on.
                head = await while_connected(request, _head(events, bool(body.stream), options))
            except ClientDisconnect:
                return Response(status_code=CLIENT_GONE)
            if isinstance(head[-1], Finished):
                raise_for(head[-1].record, options)
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
        allowed = isinstance(event, Delivered) and not event.is_refusal
        if stream and (options.block == "refusal" or allowed):
            return head
    return head


async def _resumed(head: list[Event], events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    for event in head:
        yield event
    async for event in events:
        yield event


def _whole(events: list[Event], completion: Completion) -> object:
    lines = [show_line(event, completion.view, completion.toolkit) for event in events if isinstance(event, Reasoning)]
    last = events[-1]
    if not isinstance(last, Finished):
        raise RuntimeError("a case ended without a record")
    return completion.whole(last.record, "".join(lines)).model_dump(mode="json")
