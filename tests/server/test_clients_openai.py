"""What the official client for Python does beyond a plain request: its stream helper, raw responses, limits of time, errors."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from waiting import PATIENCE, wait_for
from waiting_engine import WaitingEngine

ANSWER = "This is a scripted answer: no model was asked."
REFUSAL = "I can't help with this. I am glad to help with something safe instead."
Body = Callable[..., dict[str, Any]]
USAGE: Any = {"include_usage": True}


@pytest.fixture
def client(live: Callable[..., Any]) -> openai.OpenAI:
    """The client of a running server."""
    found: openai.OpenAI = live().openai
    return found


def asynchronous(url: str, **options: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, **options)


def test_the_stream_helper_gathers_the_answer(client: openai.OpenAI, chat_body: Body) -> None:
    with client.chat.completions.stream(**chat_body("hello"), stream_options=USAGE) as stream:
        events: list[Any] = list(stream)
        final = stream.get_final_completion()
    kinds = {event.type for event in events}
    assert kinds == {"chunk", "content.delta", "content.done"}
    assert "".join(event.delta for event in events if event.type == "content.delta") == ANSWER
    (done,) = (event for event in events if event.type == "content.done")
    message = final.choices[0].message
    assert (done.content, message.content, message.refusal) == (ANSWER, ANSWER, None)
    gathered: Any = message
    assert gathered.reasoning == gathered.reasoning_content
    assert gathered.reasoning.endswith("</thinking>\n")
    assert final.usage is not None
    assert final.moderation is not None
    assert final.moderation.input.type == "moderation_results"


def test_the_stream_helper_tells_a_refusal(client: openai.OpenAI, chat_body: Body) -> None:
    """Its final completion raises where the content filter spoke, and the error holds the refusal."""
    with client.chat.completions.stream(**chat_body("steal"), stream_options=USAGE) as stream:
        events: list[Any] = list(stream)
        with pytest.raises(openai.ContentFilterFinishReasonError) as filtered:
            stream.get_final_completion()
    assert {event.type for event in events} == {"chunk", "refusal.delta", "refusal.done"}
    assert [event.refusal for event in events if event.type == "refusal.done"] == [REFUSAL]
    assert filtered.value.completion is not None
    message = filtered.value.completion.choices[0].message
    assert (message.content, message.refusal) == (None, REFUSAL)
    told = [
        event.chunk.safer["outcome"] for event in events if event.type == "chunk" and "safer" in event.chunk.model_extra
    ]
    assert told == ["refused", "refused"]


@pytest.mark.anyio
@pytest.mark.parametrize(("message", "kind", "text"), [("hello", "content", ANSWER), ("steal", "refusal", REFUSAL)])
async def test_the_asynchronous_stream_helper(
    live: Callable[..., Any], chat_body: Body, message: str, kind: str, text: str
) -> None:
    async with (
        asynchronous(live().url) as client,
        client.chat.completions.stream(**chat_body(message)) as stream,
    ):
        events: list[Any] = [event async for event in stream]
    (done,) = (event for event in events if event.type == f"{kind}.done")
    assert getattr(done, kind) == text


def test_parsing_gives_the_answer_or_raises_with_the_refusal(client: openai.OpenAI, chat_body: Body) -> None:
    assert client.chat.completions.parse(**chat_body("hello")).choices[0].message.content == ANSWER
    with pytest.raises(openai.ContentFilterFinishReasonError) as filtered:
        client.chat.completions.parse(**chat_body("steal"))
    refused: Any = filtered.value.completion
    assert refused.choices[0].message.refusal == REFUSAL
    assert refused.safer["outcome"] == "refused"


def test_an_answer_cut_by_its_limit_is_the_client_s_length_error(client: openai.OpenAI, chat_body: Body) -> None:
    with pytest.raises(openai.LengthFinishReasonError) as cut:
        client.chat.completions.parse(**chat_body("hello"), max_tokens=2)
    assert cut.value.completion.choices[0].message.content == "This is "


def test_raw_responses_show_headers_and_the_body(client: openai.OpenAI, chat_body: Body) -> None:
    raw = client.chat.completions.with_raw_response.create(**chat_body("hello"))
    completion: ChatCompletion = raw.parse()
    assert raw.status_code == 200
    assert raw.headers["x-request-id"] == completion._request_id
    assert raw.headers["content-type"] == "application/json"
    sent = raw.http_response.json()
    assert completion.to_dict() == {key: value for key, value in sent.items() if key in completion.to_dict()}
    assert completion.choices[0].message.content == ANSWER


def test_streaming_responses_are_read_line_by_line(client: openai.OpenAI, chat_body: Body) -> None:
    create = client.chat.completions.with_streaming_response.create
    with create(**chat_body("hello")) as whole:
        completion: ChatCompletion = whole.parse()
    assert completion.choices[0].message.content == ANSWER
    with create(**chat_body("hello"), stream=True) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(line.startswith("data: ") for line in lines)


def test_nothing_that_the_server_says_is_lost_in_the_client_s_types(client: openai.OpenAI, chat_body: Body) -> None:
    """Fields that the client does not know come through typed objects and back out of them."""
    raw = client.chat.completions.with_raw_response.create(**chat_body("steal"))
    sent, completion = raw.http_response.json(), raw.parse()
    assert set(completion.model_extra or {}) == {"safer"}
    assert set(completion.choices[0].message.model_extra or {}) == {"reasoning", "reasoning_content"}
    back = ChatCompletion.model_validate_json(completion.to_json(exclude_unset=True))
    assert back.to_dict(exclude_unset=True) == sent
    chunks = list(client.chat.completions.create(**chat_body("steal"), stream=True, stream_options=USAGE))
    assert [set(chunk.model_extra or {}) for chunk in chunks[-2:]] == [{"safer"}, {"safer"}]
    assert chunks[-1].moderation is not None
    for chunk in chunks:
        assert ChatCompletionChunk.model_validate_json(chunk.to_json(exclude_unset=True)) == chunk


@pytest.mark.anyio
async def test_both_clients_read_the_same_stream(live: Callable[..., Any], chat_body: Body) -> None:
    server = live()
    ask = {**chat_body("hello"), "stream": True, "stream_options": USAGE}
    chunks = await asyncio.to_thread(lambda: list(server.openai.chat.completions.create(**ask)))
    async with asynchronous(server.url) as client:
        again = [chunk async for chunk in await client.chat.completions.create(**ask)]
    told = [[chunk.choices[0].delta for chunk in one if chunk.choices] for one in (chunks, again)]
    assert told[0] == told[1]
    assert chunks[-1].usage == again[-1].usage


def test_errors_have_the_client_s_classes(client: openai.OpenAI, chat_body: Body) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(**{**chat_body(), "model": "other"})
    assert (unknown.value.param, unknown.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")
    assert [model.id for model in client.models.list()] == ["scripted"]
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(**chat_body(), temperature=3)
    assert (wrong.value.param, wrong.value.code, wrong.value.type) == (
        "temperature", "invalid_value", "invalid_request_error",
    )  # fmt: skip
    assert wrong.value.request_id
    for other in (
        lambda: client.responses.create(model="scripted", input="hello"),
        lambda: client.embeddings.create(model="scripted", input="hello"),
    ):
        with pytest.raises(openai.NotFoundError) as absent:
            other()
        assert absent.value.code == "not_found"


def test_an_object_asked_for_by_its_type_is_refused_by_name(client: openai.OpenAI, chat_body: Body) -> None:
    class Answer(openai.BaseModel):
        text: str

    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.parse(**chat_body(), response_format=Answer)
    assert (refused.value.param, refused.value.code) == ("response_format", "unsupported_value")


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_a_caller_s_task_cancels_the_engine(
    live: Callable[..., Any], written: Callable[[str], str], chat_body: Body, stream: bool
) -> None:
    """What `asyncio.timeout` does to its task when the time is over."""
    engine = WaitingEngine(written("hello"), 40)

    async def ask(client: openai.AsyncOpenAI) -> None:
        reply: Any = await client.chat.completions.create(**chat_body("wait"), stream=stream)
        async for _ in reply:
            pass

    async with asynchronous(live(engine).url) as client:
        task = asyncio.create_task(ask(client))
        assert await asyncio.to_thread(engine.began.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(engine.closed.wait, PATIENCE)


@pytest.mark.parametrize("stream", [False, True])
def test_the_client_s_own_limit_of_time_cancels_the_engine(
    live: Callable[..., Any], written: Callable[[str], str], chat_body: Body, stream: bool
) -> None:
    engine = WaitingEngine(written("hello"), 40)
    client = live(engine).openai.with_options(timeout=1)
    with pytest.raises(openai.APITimeoutError if not stream else (openai.APITimeoutError, httpx.ReadTimeout)):
        for _ in client.chat.completions.create(**chat_body("wait"), stream=stream):
            pass
    assert (
        engine.closed.wait(PATIENCE) or not engine.began.is_set()
    )  # on a very slow machine it may not have come that far


def test_leaving_a_stream_cancels_the_engine(
    live: Callable[..., Any], written: Callable[[str], str], chat_body: Body
) -> None:
    engine = WaitingEngine(written("hello"), 105)  # in the answer
    with live(engine).openai.chat.completions.create(**chat_body("wait"), stream=True) as stream:
        next(iter(stream))
    assert engine.closed.wait(PATIENCE)


def test_a_request_turned_away_is_tried_again_by_the_client(
    live: Callable[..., Any], written: Callable[[str], str], chat_body: Body
) -> None:
    """The client waits as long as `Retry-After` says; the place is free by then."""
    engine = WaitingEngine(written("hello"), 40)
    server = live(engine, max_in_flight=1, max_queue=0, retry_after=1)
    statuses: list[int] = []

    def make_room(response: httpx.Response) -> None:
        statuses.append(response.status_code)
        if response.status_code == 503:
            stream.close()
            wait_for(lambda: "\nsafer_in_flight 0.0\n" in metrics.get(f"{server.url}/metrics").text)

    with (
        server.openai.chat.completions.create(**chat_body("wait"), stream=True) as stream,
        httpx.Client(event_hooks={"response": [make_room]}, trust_env=False) as web,
        httpx.Client(trust_env=False, timeout=PATIENCE) as metrics,
    ):
        next(iter(stream))
        patient = server.openai.with_options(max_retries=1, http_client=web)
        assert patient.chat.completions.create(**chat_body("hello")).choices[0].message.content == ANSWER
    assert statuses == [503, 200]
