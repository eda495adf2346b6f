"""The guard as a model behind a LiteLLM proxy, asked with the official client."""

from collections.abc import Callable
from typing import Any

import openai
import pytest

ANSWER = "This is a scripted answer: no model was asked."
REFUSAL = "I can't help with this. I am glad to help with something safe instead."
Ask = Callable[..., Any]


@pytest.fixture
def ask(proxy: Any) -> Ask:
    """Ask the guard through the proxy: `ask(message, **fields)`."""

    def send(message: str, **fields: Any) -> Any:
        messages = [{"role": "user", "content": message}]
        return proxy.openai.chat.completions.create(model="guarded", messages=messages, **fields)

    return send


def test_an_answer_passes_with_trace_and_verdict(ask: Ask) -> None:
    reply = ask("hello")
    (choice,) = reply.choices
    assert (choice.message.content, choice.message.refusal, choice.finish_reason) == (ANSWER, None, "stop")
    assert choice.message.reasoning_content.endswith("</thinking>\n")
    assert (reply.safer["outcome"], reply.moderation.input.results[0].flagged) == ("answered", False)
    assert reply.usage.completion_tokens_details.reasoning_tokens > 0


def test_a_refusal_keeps_its_finish_and_its_text_moves(ask: Ask) -> None:
    """LiteLLM puts fields of the message that it does not map under `provider_specific_fields`, `refusal` among them."""
    reply = ask("steal")
    (choice,) = reply.choices
    assert (choice.message.content, choice.message.refusal, choice.finish_reason) == (None, None, "content_filter")
    assert choice.message.provider_specific_fields["refusal"] == REFUSAL
    assert (reply.safer["outcome"], reply.moderation.input.results[0].flagged) == ("refused", True)


@pytest.mark.parametrize(
    ("message", "content", "finish", "outcome"),
    [("hello", ANSWER, "stop", "answered"), ("steal", "", "content_filter", "refused")],
)
def test_streams(ask: Ask, message: str, content: str, finish: str, outcome: str) -> None:
    """LiteLLM drops `delta.refusal`; a refusal is told by `finish_reason` and `safer`."""
    chunks = list(ask(message, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == content
    assert not any(delta.refusal for delta in deltas)
    reasoning = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert reasoning.endswith("</thinking>\n")
    assert [one.choices[0].finish_reason for one in chunks if one.choices and one.choices[0].finish_reason] == [finish]
    assert [one.safer["outcome"] for one in chunks if getattr(one, "safer", None)][:1] == [outcome]
    assert chunks[-1].usage is not None


def test_the_vendor_object_reaches_the_guard(ask: Ask) -> None:
    assert ask("steal", extra_body={"safer": {"trace": "none"}}).safer["trace"] == []
    with pytest.raises(openai.BadRequestError, match="The guard refused this request"):
        ask("steal", extra_body={"safer": {"block": "error"}})


def test_a_wrong_field_keeps_its_name(ask: Ask) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        ask("hello", tools=[])
    assert wrong.value.param == "tools"


def test_moderations(proxy: Any) -> None:
    told = [proxy.openai.moderations.create(model="guarded", input=text).results for text in ("hello", "steal")]
    assert [[result.flagged for result in results] for results in told] == [[False], [True]]
