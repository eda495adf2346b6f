"""Every field that the official client can send is honoured, or refused by name: a new release of it that knows more fails here."""

from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any, get_args, get_type_hints

import pytest
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionContentPartImageParam,
    ChatCompletionContentPartParam,
    ChatCompletionContentPartRefusalParam,
    ChatCompletionContentPartTextParam,
    ChatCompletionDeveloperMessageParam,
    ChatCompletionMessageParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionSystemMessageParam,
    ChatCompletionUserMessageParam,
)
from openai.types.chat.chat_completion_content_part_image_param import ImageURL
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from starlette.testclient import TestClient

Hold = Callable[[Any], dict[str, Any]]
USER = {"role": "user", "content": "hello"}
TEXT = {"type": "text", "text": "hello"}


def user(part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [TEXT, part]}]}


def earlier(message: Any) -> dict[str, Any]:
    return {"messages": [message, USER]}


def streamed(options: Any) -> dict[str, Any]:
    return {"stream": True, "stream_options": options}


@pytest.fixture
def picture(data_url: Callable[..., str]) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url()}}


HONOURED = MappingProxyType(
    {
        "model": "scripted", "messages": [USER], "max_completion_tokens": 500, "max_tokens": 50, "temperature": 0.5,
        "top_p": 0.5, "seed": 1, "stop": ["never"], "stream": True, "stream_options": {"include_usage": True}, "user": "u",
        "safety_identifier": "s", "metadata": {"key": "value"},
    }
)  # fmt: skip
"""The fields of a request that are taken, each with a value."""

OBJECTS: tuple[tuple[Any, str, Hold, dict[str, Any]], ...] = (
    (ChatCompletionSystemMessageParam, "messages[0]", earlier, {"role": "system", "content": "x"}),
    (ChatCompletionDeveloperMessageParam, "messages[0]", earlier, {"role": "developer", "content": "x"}),
    (ChatCompletionUserMessageParam, "messages[0]", earlier, USER),
    (
        ChatCompletionAssistantMessageParam,
        "messages[0]",
        earlier,
        {"role": "assistant", "content": "x", "refusal": None},
    ),
    (ChatCompletionContentPartTextParam, "messages[0].content[1]", user, TEXT),
    (ChatCompletionStreamOptionsParam, "stream_options", streamed, {"include_usage": True}),
)
"""The objects within a request: where one stands, what it is put into, and one with all fields that are taken."""


def fields_of(*kinds: Any) -> list[str]:
    return sorted({name for kind in kinds for name in get_type_hints(kind)})


def refused() -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each field stands that is not taken, and a request that has it."""
    for field in set(fields_of(CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming)) - set(HONOURED):
        yield field, {field: "something"}
    for kind, at, hold, taken in OBJECTS:
        for field in set(fields_of(kind)) - set(taken):
            yield f"{at}.{field}", hold({**taken, field: "something"})


@pytest.fixture
def ask(in_process: Callable[..., TestClient]) -> Callable[..., Any]:
    """Ask and return the response: `ask(**fields)`."""
    client = in_process()
    return lambda **fields: client.post(
        "/v1/chat/completions", json={"model": "scripted", "messages": [USER], **fields}
    )


def test_what_is_taken_is_known_to_the_client_and_answered(ask: Callable[..., Any]) -> None:
    assert set(HONOURED) <= set(fields_of(CompletionCreateParamsStreaming))
    assert ask(**HONOURED).status_code == 200
    for _, _, hold, taken in OBJECTS:
        assert ask(**hold(taken)).status_code == 200


def test_what_is_not_taken_is_refused_by_name(ask: Callable[..., Any]) -> None:
    for param, body in refused():
        response = ask(**body)
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, param)
        assert error["code"] in ("unsupported_parameter", "unsupported_value")


def test_every_picture_field_is_taken_or_refused(ask: Callable[..., Any], picture: dict[str, Any]) -> None:
    assert ask(**user(picture)).status_code == 200
    for field in set(fields_of(ChatCompletionContentPartImageParam)) - set(picture):
        error = ask(**user({**picture, field: "something"})).json()["error"]
        assert (error["param"], error["code"]) == (f"messages[0].content[1].{field}", "unsupported_parameter")
    for field in set(fields_of(ImageURL)) - {"url"}:
        part = {**picture, "image_url": {**picture["image_url"], field: "low"}}
        error = ask(**user(part)).json()["error"]
        assert (error["param"], error["code"]) == (f"messages[0].content[1].image_url.{field}", "unsupported_value")


def test_every_other_part_and_role_is_refused_by_name(ask: Callable[..., Any]) -> None:
    parts = {one.__name__ for one in get_args(ChatCompletionContentPartParam)}
    assert parts == {
        "ChatCompletionContentPartTextParam", "ChatCompletionContentPartImageParam",
        "ChatCompletionContentPartInputAudioParam", "File",
    }  # fmt: skip
    for kind in ("input_audio", "file", "refusal"):
        response = ask(**user({"type": kind, kind: {"data": "", "format": "wav"}}))
        assert (response.status_code, response.json()["error"]["param"]) == (400, "messages[0].content[1].type")
    assert set(fields_of(ChatCompletionContentPartRefusalParam)) == {"type", "refusal"}
    response = ask(**earlier({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}))
    assert response.json()["error"]["param"] == "messages[0].content[0].type"
    roles = {get_args(get_type_hints(one)["role"])[0] for one in get_args(ChatCompletionMessageParam)}
    assert roles == {"developer", "system", "user", "assistant", "tool", "function"}
    for role in ("tool", "function"):
        response = ask(**earlier({"role": role, "content": "x", "name": "x", "tool_call_id": "x"}))
        assert (response.status_code, response.json()["error"]["param"]) == (400, "messages[0].role")
