"""LiteLLM's generic guardrail: what its proxy sends, and what may come back."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from safer_server.engines.base import EngineRequest, EngineUnavailableError
from safer_server.engines.scripted import ScriptedEngine, table
from watching import TOLERANT, WATCHING

PATH = "/beta/litellm_basic_guardrail_api"


def sent(input_type: str = "request", **fields: Any) -> dict[str, Any]:
    """A body with every key, as LiteLLM sends it."""
    empty = dict.fromkeys(
        (
            "texts",
            "images",
            "structured_messages",
            "tools",
            "tool_calls",
            "litellm_call_id",
            "litellm_trace_id",
            "request_headers",
        )
    )
    rest = {
        "request_data": {"user_api_key_hash": "x"},
        "litellm_version": "1",
        "model": "gpt-x",
        "a_new_key": {"in": "a release"},
    }
    return {**empty, **rest, "additional_provider_specific_params": {}, "input_type": input_type, **fields}


def asked(*texts: str) -> dict[str, Any]:
    rows = [{"role": "user", "content": text} for text in texts]
    return sent(texts=list(texts), structured_messages=rows)


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine(table({"broken": "no trace\n"}))


@pytest.fixture
def client(in_process: Callable[..., TestClient], engine: ScriptedEngine) -> TestClient:
    return in_process(engine, served=(TOLERANT, WATCHING))


@pytest.mark.parametrize(
    ("text", "action", "outcome"),
    [
        ("hello", "NONE", "answered"),
        ("a medicine", "NONE", "safe_completed"),
        ("unclear", "NONE", "clarified"),
        ("steal", "BLOCKED", "refused"),
        ("broken", "BLOCKED", "failed_closed"),
    ],
)
def test_requests_and_replies(client: TestClient, text: str, action: str, outcome: str) -> None:
    for body in (asked(text), sent(texts=[text]), sent("response", texts=[text])):
        response = client.post(PATH, json=body)
        told = response.json()
        assert (response.status_code, told["action"], told["safer"]["outcome"]) == (200, action, outcome)
        assert (told["blocked_reason"] is None) == (action == "NONE")


def test_messages_are_judged_once_and_with_their_roles(client: TestClient, engine: ScriptedEngine) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    rows = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {"type": "x"}}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "a document", "tool_call_id": "1"},
    ]
    texts = ["Be brief.", "hello", "a document", "not in the messages"]
    body = sent(
        texts=texts,
        structured_messages=rows,
        tools=[{"type": "function", "function": {"name": "look"}}],
        tool_calls=[call],
    )
    told = client.post(PATH, json=body).json()
    turns = [(turn.role, turn.text) for turn in engine.requests[-1].turns]
    assert [role for role, _ in turns] == ["system", "system", "user", "assistant", "user", "user"]
    assert [text for _, text in turns][1:] == [
        "Be brief.",
        "hello",
        '{"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}',
        "a document",
        "not in the messages",
    ]
    assert "look" in turns[0][1]
    assert not told["safer"]["coverage"]["unjudged"]


def test_a_reply_is_judged_as_the_assistants(client: TestClient, engine: ScriptedEngine) -> None:
    client.post(PATH, json=sent("response", texts=["one", "two"]))
    (turn,) = engine.requests[-1].turns
    assert (turn.role, turn.parts) == ("assistant", ("one", "two"))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {}},
        {"type": "file", "file": {}},
        {"type": "image_url", "image_url": {"url": "https://elsewhere.example/x.png"}},
        {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
        {"type": "text"},
        17,
    ],
)
def test_what_cannot_be_read_is_unjudged_and_blocks(client: TestClient, part: Any) -> None:
    body = sent(texts=["hello"], structured_messages=[{"role": "user", "content": ["hello", part]}])
    told = client.post(PATH, json=body).json()
    assert (told["action"], told["safer"]["failure"]) == ("BLOCKED", "unjudged")
    (unjudged,) = told["safer"]["coverage"]["unjudged"]
    assert unjudged["part"] == "structured_messages[0].content[1]"
    assert unjudged["reason"]
    options = {"additional_provider_specific_params": {"policy": "tolerant"}}
    assert client.post(PATH, json={**body, **options}).json()["action"] == "NONE"


@pytest.mark.parametrize("content", [17, True, {"text": "steal"}, {"type": "image_url", "text": ""}])
def test_content_of_another_form_is_unjudged_and_blocks(client: TestClient, content: Any) -> None:
    for row in ({"role": "user", "content": content}, {"role": "user", "content": [content]}):
        told = client.post(PATH, json=sent(structured_messages=[row])).json()
        assert (told["action"], told["safer"]["failure"]) == ("BLOCKED", "unjudged")


@pytest.mark.parametrize("calls", [17, 0.5, True, "steal", {"name": "steal"}, [["steal"]]])
def test_tool_calls_of_any_form_are_judged(client: TestClient, engine: ScriptedEngine, calls: Any) -> None:
    rows = [{"role": "assistant", "content": None, "tool_calls": calls}]
    told = client.post(PATH, json=sent(structured_messages=rows)).json()
    assert told["action"] == ("BLOCKED" if "steal" in str(calls) else "NONE")
    assert told["safer"]["coverage"]["judged"]


def test_pictures_are_looked_at(client: TestClient, engine: ScriptedEngine, data_url: Callable[..., str]) -> None:
    rows = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url()}}]}]
    for body in (sent(images=[data_url()], texts=["hello"]), sent(images=[data_url()], structured_messages=rows)):
        told = client.post(PATH, json=body).json()
        assert told["action"] == "NONE"
        assert sum(part["type"] == "image" for part in told["safer"]["coverage"]["judged"]) == 1


def test_whatever_else_a_message_says_is_judged(client: TestClient, engine: ScriptedEngine) -> None:
    rows = [{"role": "assistant", "content": None, "refusal": "I won't.", "function_call": {"name": "steal"}}]
    told = client.post(PATH, json=sent(structured_messages=rows)).json()
    (turn,) = engine.requests[-1].turns
    assert turn.parts == ("I won't.", '{"name": "steal"}')
    assert told["action"] == "BLOCKED"


def test_nothing_to_judge(client: TestClient, engine: ScriptedEngine) -> None:
    before = len(engine.requests)
    told = client.post(PATH, json=sent(texts=[])).json()
    assert (told["action"], told["safer"], len(engine.requests)) == ("NONE", None, before)


def test_the_configuration_chooses_policy_and_depth(client: TestClient, engine: ScriptedEngine) -> None:
    def ask(**options: Any) -> Any:
        return client.post(PATH, json={**asked("steal"), "additional_provider_specific_params": options})

    told = ask(policy="watching", depth="brief", another="option").json()
    assert (told["action"], told["safer"]["outcome"], told["safer"]["plan"]["depth"]) == (
        "NONE",
        "would_refuse",
        "brief",
    )
    assert ask(policy="missing").status_code == 404


def test_no_engine_is_a_503(in_process: Callable[..., TestClient]) -> None:
    def unreachable(_: EngineRequest) -> str:
        raise EngineUnavailableError

    response = in_process(ScriptedEngine(unreachable)).post(PATH, json=asked("hello"))
    assert (response.status_code, response.json()["error"]["code"]) == (503, "guard_unavailable")


def test_the_trace_it_shows_is_redacted(client: TestClient) -> None:
    assert '"scripted"' not in client.post(PATH, json=asked("steal")).text.replace('"model":"scripted"', "")
