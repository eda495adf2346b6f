"""The guard as LiteLLM's generic guardrail, in front of a model that says whatever it was told."""

from collections.abc import Callable
from typing import Any

import openai
import pytest

from loopback_process import LoopbackProcess
from waiting import wait_for

REFUSAL = "I can't help with this request."
WITHHELD = "I can't show this reply: it did not pass its safety check."
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAAAElFTkSuQmCC"
PICTURE = f"data:image/png;base64,{PNG}"
Ask = Callable[..., Any]


@pytest.fixture
def ask(proxy: Any) -> Ask:
    """Ask the model without a guard: `ask(guardrail, content, **fields)`."""
    proxy.echo.bodies.clear()

    def send(guardrail: str, content: Any, **fields: Any) -> Any:
        messages = fields.pop("messages", [{"role": "user", "content": content}])
        return proxy.openai.chat.completions.create(
            model="echo", messages=messages, extra_body={"guardrails": [guardrail]}, **fields
        )

    return send


@pytest.mark.parametrize("guardrail", ["safer", "request", "beside", "reply", "whole-reply"])
def test_what_is_allowed_passes(ask: Ask, guardrail: str) -> None:
    assert ask(guardrail, "hello").choices[0].message.content == "hello"
    chunks = ask(guardrail, "hello again and again", stream=True)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said.strip() == "hello again and again"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("guardrail", "asked"), [("safer", 0), ("request", 0), ("beside", 1)])
def test_a_request_that_is_refused_is_a_400_with_the_refusal(
    ask: Ask, proxy: Any, guardrail: str, asked: int, stream: bool
) -> None:
    """Before the call the model is not asked; beside it, it may have been, and its reply is withheld."""
    with pytest.raises(openai.BadRequestError) as blocked:
        ask(guardrail, "steal", stream=stream)
    body: Any = blocked.value.body
    assert body["message"] == REFUSAL
    assert len(proxy.echo.bodies) <= asked


def test_a_reply_that_is_refused_is_withheld(ask: Ask, proxy: Any) -> None:
    with pytest.raises(openai.BadRequestError) as blocked:
        ask("reply", "steal")
    body: Any = blocked.value.body
    assert body["message"] == WITHHELD
    assert len(proxy.echo.bodies) == 1


@pytest.mark.parametrize("guardrail", ["reply", "whole-reply"])
def test_a_streamed_reply_that_is_refused_ends_in_an_error(ask: Ask, guardrail: str) -> None:
    """LiteLLM looks at every fifth chunk, or at the end alone: what came before has been sent by then."""
    with pytest.raises(openai.APIError, match=WITHHELD):
        list(ask(guardrail, "one two three four five six steal eight nine ten eleven", stream=True))


def test_the_whole_conversation_is_judged(ask: Ask, proxy: Any) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hello"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "steal"},
                {"type": "image_url", "image_url": {"url": PICTURE}},
            ],
        },
    ]
    with pytest.raises(openai.BadRequestError):
        ask("request", None, messages=messages)
    messages[-1]["content"][0]["text"] = "hello"  # type: ignore[index]
    assert ask("request", None, messages=messages).choices[0].message.content.strip() == "hello"
    assert len(proxy.echo.bodies) == 1


@pytest.mark.parametrize("guardrail", ["request", "lenient"])
def test_a_picture_that_cannot_be_read_is_blocked(ask: Ask, proxy: Any, guardrail: str) -> None:
    """It is unjudged, which fails closed, whatever is to happen while the guard is gone."""
    content = [
        {"type": "text", "text": "hello"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    with pytest.raises(openai.BadRequestError) as blocked:
        ask(guardrail, content)
    body: Any = blocked.value.body
    assert body["message"].startswith("I can't")
    assert proxy.echo.bodies == []


def test_tools_and_their_calls_are_judged(ask: Ask, proxy: Any) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "take", "arguments": '{"how": "steal"}'}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "steal"},
    ]
    with pytest.raises(openai.BadRequestError):
        ask("request", None, messages=messages)
    assert proxy.echo.bodies == []


def test_a_picture_alone_is_never_shown_to_a_guardrail(ask: Ask, proxy: Any) -> None:
    """LiteLLM asks its guardrails only about messages with text: this passes whatever the guard says of pictures."""
    ask("request", [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}])
    assert len(proxy.echo.bodies) == 1


@pytest.mark.parametrize("guardrail", ["gone", "unknown-policy"])
def test_a_guard_that_cannot_answer_stops_the_request(ask: Ask, proxy: Any, guardrail: str) -> None:
    with pytest.raises(openai.InternalServerError):
        ask(guardrail, "hello")
    assert proxy.echo.bodies == []


def test_a_guard_that_is_late_stops_the_request_and_is_cancelled(ask: Ask, proxy: Any, guard: LoopbackProcess) -> None:
    with pytest.raises(openai.InternalServerError):
        ask("hasty", "wait")
    assert proxy.echo.bodies == []
    wait_for(lambda: "\nsafer_in_flight 0.0\n" in guard.get("/metrics"))


def test_an_operator_may_let_requests_pass_while_the_guard_is_gone(ask: Ask) -> None:
    assert ask("gone-open", "hello").choices[0].message.content == "hello"
