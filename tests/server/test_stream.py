"""Streamed chat completions: the order of chunks, their ends, and clients that go away."""

import http.client
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk
from starlette.testclient import TestClient

from safer_server.engines.scripted import ScriptedEngine, Take
from waiting import PATIENCE
from waiting_engine import WaitingEngine

ANSWER = "This is a scripted answer: no model was asked."


@pytest.fixture
def stream(
    live: Callable[..., Any], chat_body: Callable[..., dict[str, Any]]
) -> Callable[..., list[ChatCompletionChunk]]:
    """Stream with the official client: `stream(message, engine=..., **fields)`."""

    def send(message: str, engine: ScriptedEngine | None = None, **fields: Any) -> list[ChatCompletionChunk]:
        return list(live(engine).openai.chat.completions.create(**chat_body(message), stream=True, **fields))

    return send


def reasoning(chunk: ChatCompletionChunk) -> str:
    return (chunk.choices[0].delta.model_extra or {}).get("reasoning", "") if chunk.choices else ""


@pytest.mark.parametrize(
    ("message", "key", "finish"),
    [("hello", "content", "stop"), ("medicine", "content", "stop"), ("steal", "refusal", "content_filter")],
)
def test_role_then_reasoning_then_the_answer(
    stream: Callable[..., list[ChatCompletionChunk]], message: str, key: str, finish: str
) -> None:
    chunks = stream(message)
    assert chunks[0].choices[0].delta.role == "assistant"
    kinds = []
    for chunk in chunks[1:-1]:
        delta = chunk.choices[0].delta.model_dump(exclude_unset=True)
        kinds.append("reasoning" if set(delta) == {"reasoning", "reasoning_content"} else next(iter(delta)))
        assert chunk.choices[0].finish_reason is None
    assert kinds == sorted(kinds, key=["reasoning", key].index)
    assert set(kinds) == {"reasoning", key}
    decided = "".join(map(reasoning, chunks))
    assert decided.endswith("</thinking>\n")
    last = chunks[-1]
    assert last.choices[0].finish_reason == finish
    assert (last.model_extra or {})["safer"]["verification"]["valid"] is True
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


def test_the_stream_says_the_same_as_the_whole(
    live: Callable[..., Any], chat_body: Callable[..., dict[str, Any]]
) -> None:
    client = live().openai
    whole = client.chat.completions.create(**chat_body("hello"))
    chunks = list(client.chat.completions.create(**chat_body("hello"), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert "".join(map(reasoning, chunks)) == whole.choices[0].message.reasoning
    told, again = whole.safer, chunks[-1].safer
    for key in ("plan", "trace", "decision", "outcome", "categories", "severity", "coverage"):
        assert told[key] == again[key]


def test_usage_comes_last_with_safer_and_moderation(stream: Callable[..., list[ChatCompletionChunk]]) -> None:
    chunks = stream("steal", stream_options={"include_usage": True})
    last = chunks[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.moderation is not None
    assert (last.model_extra or {})["safer"]["outcome"] == "refused"
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks[:-1])
    assert all("usage" not in chunk.model_fields_set for chunk in stream("steal"))


def frames(text: str) -> list[str]:
    found = [frame for frame in text.split("\n\n") if frame]
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in found)
    return [frame.removeprefix("data: ") for frame in found]


def test_frames_and_headers(in_process: Callable[..., TestClient], chat_body: Callable[..., dict[str, Any]]) -> None:
    response = in_process().post("/v1/chat/completions", json=chat_body(stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-request-id"].startswith("req_")
    assert frames(response.text)[-1] == "[DONE]"
    assert all(json.loads(frame)["object"] == "chat.completion.chunk" for frame in frames(response.text)[:-1])


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0b", "\x1c", "\r", "\U0001f600"])
def test_unusual_characters_do_not_break_the_framing(
    stream: Callable[..., list[ChatCompletionChunk]], written: Callable[[str], str], separator: str
) -> None:
    answer = f"one{separator}two"
    chunks = stream("hello", ScriptedEngine(lambda _: written("hello").replace(ANSWER, answer)))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == answer


@pytest.mark.parametrize("fault", ["trailing", "raise", "short"])
def test_a_fault_after_the_answer_began_ends_in_one_error_frame(
    in_process: Callable[..., TestClient],
    live: Callable[..., Any],
    written: Callable[[str], str],
    chat_body: Callable[..., dict[str, Any]],
    fault: str,
) -> None:
    text = written("hello")
    take = {
        "trailing": Take(text + "more"),
        "raise": Take(text, raise_at=(len(text) - 24) // 4),
        "short": Take(text, stop_at=(len(text) - 24) // 4),
    }[fault]
    response = in_process(ScriptedEngine(lambda _: take)).post("/v1/chat/completions", json=chat_body(stream=True))
    told = [json.loads(frame) for frame in frames(response.text)]
    assert [frame for frame in told if "error" in frame] == told[-1:]
    assert told[-1]["error"]["code"] == "failed_closed"
    assert set(told[-1]["error"]) == {"message", "type", "param", "code"}
    assert any(chunk["choices"][0]["delta"].get("content") for chunk in told[:-1])
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in told[:-1])
    with pytest.raises(openai.APIError, match="void"):
        list(live(ScriptedEngine(lambda _: take)).openai.chat.completions.create(**chat_body(), stream=True))


@pytest.mark.parametrize("at", [10, 40, 90])
def test_a_fault_before_the_answer_is_a_refusal(
    stream: Callable[..., list[ChatCompletionChunk]], written: Callable[[str], str], at: int
) -> None:
    chunks = stream("hello", ScriptedEngine(lambda _: Take(written("hello"), raise_at=at)))
    assert not any(chunk.choices[0].delta.content for chunk in chunks)
    assert "".join(chunk.choices[0].delta.refusal or "" for chunk in chunks).startswith("I can't help")
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    assert (chunks[-1].model_extra or {})["safer"]["outcome"] == "failed_closed"


def test_redacted_and_hidden_traces(stream: Callable[..., list[ChatCompletionChunk]]) -> None:
    redacted = stream("steal", extra_body={"safer": {"trace": "redacted"}})
    assert "scripted" not in "".join(map(reasoning, redacted))
    hidden = stream("steal", extra_body={"safer": {"trace": "none"}})
    assert "".join(map(reasoning, hidden)) == ""
    assert (hidden[-1].model_extra or {})["safer"]["trace"] == []


@pytest.mark.parametrize(("streamed", "at"), [(True, 0), (True, 40), (True, 105), (False, 0), (False, 105)])
def test_a_client_that_goes_away_cancels_generation(
    live: Callable[..., Any],
    written: Callable[[str], str],
    chat_body: Callable[..., dict[str, Any]],
    streamed: bool,
    at: int,
) -> None:
    engine = WaitingEngine(written("hello"), at)
    server = live(engine, max_in_flight=1)
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
    body = json.dumps(chat_body("wait", stream=streamed))
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    assert engine.began.wait(PATIENCE)
    if streamed and at:
        with connection.getresponse() as response:
            assert response.readline().startswith(b"data: ")
    connection.close()
    assert engine.closed.wait(PATIENCE)
    again = server.openai.chat.completions.create(**chat_body("hello"))
    assert again.safer["outcome"] == "answered"
