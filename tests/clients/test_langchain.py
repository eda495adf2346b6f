"""LangChain for Python: it keeps a refusal of a whole reply, and drops that of a stream, the reasoning and `safer`."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI

from loopback_process import LoopbackProcess
from waiting import wait_for

ANSWER = "This is a scripted answer: no model was asked."
REFUSAL = "I can't help with this. I am glad to help with something safe instead."
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAAAElFTkSuQmCC"
Open = Callable[..., Any]


@pytest.fixture
def model(guard: LoopbackProcess) -> Open:
    """Open a chat model: `model(**fields)`."""

    def start(**fields: Any) -> Any:
        return ChatOpenAI(
            model="scripted", base_url=f"{guard.url}/v1", api_key="none", max_retries=0, stream_usage=True, **fields
        )

    return start


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio."""
    return "asyncio"


def gathered(chunks: Any) -> Any:
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


@pytest.mark.parametrize(
    ("message", "content", "refusal", "finish"),
    [("hello", ANSWER, None, "stop"), ("steal", "", REFUSAL, "content_filter")],
)
def test_a_reply_whole_and_streamed(model: Open, message: str, content: str, refusal: str | None, finish: str) -> None:
    whole, stream = model().invoke(message), gathered(model().stream(message))
    assert isinstance(whole, AIMessage)
    assert (whole.content, whole.additional_kwargs["refusal"]) == (content, refusal)
    assert (stream.content, "refusal" in stream.additional_kwargs) == (content, False)
    for reply in (whole, stream):
        assert reply.response_metadata["finish_reason"] == finish
        assert reply.usage_metadata["output_token_details"]["reasoning"] > 0


@pytest.mark.anyio
async def test_the_asynchronous_stream(model: Open) -> None:
    chunks = [chunk async for chunk in model().astream("hello")]
    assert gathered(chunks).content == ANSWER


@pytest.mark.parametrize("how", ["invoke", "stream"])
def test_a_block_as_an_error(model: Open, how: str) -> None:
    strict = model(extra_body={"safer": {"block": "error"}})
    with pytest.raises(openai.BadRequestError) as blocked:
        list(getattr(strict, how)("steal"))
    assert blocked.value.code == "content_filter"


@pytest.mark.parametrize("message", ["hello", "steal"])
def test_earlier_replies_can_be_sent_back(model: Open, message: str) -> None:
    asked = HumanMessage(message)
    for reply in (model().invoke([asked]), gathered(model().stream([asked]))):
        assert model().invoke([asked, reply, HumanMessage("hello")]).content == ANSWER


def test_pictures(model: Open) -> None:
    parts = [{"type": "text", "text": "hello"}, {"type": "image", "base64": PICTURE, "mime_type": "image/png"}]
    assert model().invoke([HumanMessage(content_blocks=parts)]).content == ANSWER
    broken = [*parts[:1], {**parts[1], "base64": b64encode(b"no picture").decode()}]
    with pytest.raises(openai.BadRequestError) as refused:
        model().invoke([HumanMessage(content_blocks=broken)])
    assert (refused.value.code, refused.value.param) == ("invalid_image", "messages[0].content[1]")


def test_leaving_a_stream_cancels_generation(model: Open, guard: LoopbackProcess) -> None:
    stream = model().stream("wait")
    next(stream)
    wait_for(lambda: "\nsafer_in_flight 1.0\n" in guard.get("/metrics"))
    stream.close()
    wait_for(lambda: "\nsafer_in_flight 0.0\n" in guard.get("/metrics"))
