"""The protocol as served, and the verification of traces over HTTP."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from safer_protocol.decision import Decision
from safer_protocol.plan import Topology
from safer_protocol.text import parse
from safer_protocol.toolkit import default_toolkit

TOOLKIT = default_toolkit()


def test_the_protocol_is_told_in_full(in_process: Callable[..., TestClient]) -> None:
    card = in_process().get("/v1/protocol").json()
    assert card["protocol_hash"] == TOOLKIT.hash
    assert [tool["name"] for tool in card["tools"]] == [tool.name for tool in TOOLKIT.tools]
    assert all(field["key"] and field["kind"] for tool in card["tools"] for field in tool["fields"])
    assert [topology["name"] for topology in card["topologies"]] == list(Topology)
    assert card["decisions"] == list(Decision)
    assert set(card["schemas"]) == {"plan", "call"}
    assert card["schemas"]["plan"]["type"] == "object"


def test_models_are_listed_as_openai_does(live: Callable[..., Any]) -> None:
    client = live().openai
    (model,) = client.models.list().data
    assert model.id == "scripted"
    assert client.models.retrieve("scripted") == model


def as_json(text: str) -> dict[str, Any]:
    reply = parse(text, TOOLKIT).reply
    assert reply is not None
    dumped: dict[str, Any] = json.loads(reply.model_dump_json())
    return dumped


@pytest.fixture
def verify(in_process: Callable[..., TestClient]) -> Callable[..., dict[str, Any]]:
    client = in_process()

    def send(**body: Any) -> dict[str, Any]:
        response = client.post("/v1/traces/verify", json=body)
        assert response.status_code == 200, response.text
        told: dict[str, Any] = response.json()
        assert told.pop("protocol_hash") == told.pop("policy_hash") == TOOLKIT.hash
        assert told.pop("policy") == "default"
        return told

    return send


def test_a_valid_reply_in_every_form(verify: Callable[..., dict[str, Any]], written: Callable[[str], str]) -> None:
    text = written("steal")
    reply = as_json(text)
    valid = {"valid": True, "violations": [], "decision": "refuse"}
    assert verify(text=text) == valid
    assert verify(text=text.split("<answer>")[0]) == valid
    assert verify(**reply) == valid
    assert verify(plan=reply["plan"], trace=reply["trace"]) == valid


def test_what_chat_returns_verifies(
    in_process: Callable[..., TestClient], chat_body: Callable[..., dict[str, Any]]
) -> None:
    client = in_process()
    for view in ("full", "redacted"):
        body = chat_body("steal", safer={"trace": view})
        completion = client.post("/v1/chat/completions", json=body).json()
        message, told = completion["choices"][0]["message"], completion["safer"]
        for form in ({"text": message["reasoning"]}, {"plan": told["plan"], "trace": told["trace"]}):
            assert client.post("/v1/traces/verify", json=form).json()["valid"] is True


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("level=high", "level=awful", "field_range"),
        ("verdict=refuse", "verdict=allow", "decision_against_risk"),
        ("I can't help with", "Here is how:", "answer_against_decision"),
    ],
)
def test_violations_are_told(
    verify: Callable[..., dict[str, Any]], written: Callable[[str], str], old: str, new: str, code: str
) -> None:
    report = verify(text=written("steal").replace(old, new))
    assert report["valid"] is False
    assert code in {violation["code"] for violation in report["violations"]}
    assert all(set(violation) == {"code", "step", "field", "message"} for violation in report["violations"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"text": "x", "answer": "y"}, None),
        ({"plan": {}}, "plan.category"),
        ({"answer": "x"}, None),
        ({"text": 5}, "text"),
        ({"text": "x", "toolkit": {}}, "toolkit"),
    ],
)
def test_a_body_that_is_neither_form(
    in_process: Callable[..., TestClient], body: dict[str, Any], param: str | None
) -> None:
    response = in_process().post("/v1/traces/verify", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_a_very_long_text_is_refused(in_process: Callable[..., TestClient]) -> None:
    assert in_process().post("/v1/traces/verify", json={"text": "x" * 300_000}).status_code == 413
