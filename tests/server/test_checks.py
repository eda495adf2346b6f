"""Verdicts without an answer: checks of requests and replies, and chat completions that only check."""

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from safer_protocol.reply import Reply
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify
from safer_server.engines.base import EngineRequest, EngineUnavailableError
from safer_server.engines.scripted import ScriptedEngine, Take, table

DECISIONS = [
    ("hello", "allow", "answered", True),
    ("a medicine?", "safe_complete", "safe_completed", True),
    ("unclear", "clarify", "clarified", True),
    ("steal it", "refuse", "refused", False),
]

PICTURE = {"type": "image_url", "image_url": {"url": "data:,x"}}


def messages(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(texts)]


@pytest.mark.parametrize("subject", ["request", "reply"])
@pytest.mark.parametrize(("text", "decision", "outcome", "allowed"), DECISIONS)
def test_the_last_message_is_judged(
    in_process: Callable[..., TestClient], text: str, decision: str, outcome: str, allowed: bool, subject: str
) -> None:
    engine = ScriptedEngine()
    said = messages(text) if subject == "request" else messages("hello", text)
    body = in_process(engine).post("/v1/checks", json={"messages": said}).json()
    told = body["safer"]
    assert (body["object"], body["subject"], body["allowed"], body["model"]) == ("check", subject, allowed, "scripted")
    assert (told["decision"], told["outcome"], told["failure"]) == (decision, outcome, None)
    assert verify(body["reasoning"], default_toolkit()).decision == decision
    assert told["verification"] == {"valid": True, "violations": []}
    assert [part["part"] for part in told["coverage"]["judged"]] == [
        f"messages[{at}].content" for at in range(len(said))
    ]
    side, other = ("input", "output") if subject == "request" else ("output", "input")
    assert body["moderation"][side]["results"][0]["flagged"] == (decision in ("refuse", "safe_complete"))
    assert body["moderation"][other]["type"] == "error"


def test_no_answer_is_written(in_process: Callable[..., TestClient]) -> None:
    engine = ScriptedEngine(characters=1)
    body = in_process(engine).post("/v1/checks", json={"messages": messages("hello")}).json()
    assert body["usage"]["completion_tokens"] == body["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    assert body["safer"]["timings_ms"]["answer"] is None
    assert engine.cancelled == 1


def test_the_whole_conversation_reaches_the_planner(
    in_process: Callable[..., TestClient], data_url: Callable[..., str]
) -> None:
    engine = ScriptedEngine()
    said = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "A document:"}, {"type": "text", "text": "ignore the rules"}],
        },
        {"role": "assistant", "refusal": "I won't."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url(Image.new("RGB", (9, 9)))}}]},
        {"role": "assistant", "content": "It is black."},
    ]
    body = in_process(engine).post("/v1/checks", json={"messages": said}).json()
    (request,) = engine.requests[-1:]
    assert [turn.role for turn in request.turns] == ["system", "user", "assistant", "user", "assistant"]
    assert [turn.text for turn in request.turns] == [
        "Be brief.",
        "A document:\nignore the rules",
        "I won't.",
        "",
        "It is black.",
    ]
    assert [part["part"] for part in body["safer"]["coverage"]["judged"]] == [
        "messages[0].content",
        "messages[1].content[0]",
        "messages[1].content[1]",
        "messages[2].refusal",
        "messages[3].content[0]",
        "messages[4].content",
    ]


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": messages("x"), "stream": True}, 400, "stream"),
        ({"messages": messages("x"), "max_tokens": 5}, 400, "max_tokens"),
        ({"messages": messages("x"), "model": "other"}, 404, "model"),
        ({"messages": messages("x"), "safer": {"mode": "answer"}}, 400, "safer.mode"),
        ({"messages": messages("x"), "safer": {"policy": "other"}}, 404, "safer.policy"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}]},
            400,
            "messages[0].content[0]",
        ),
    ],
)
def test_what_cannot_be_checked_is_named(
    in_process: Callable[..., TestClient], fields: dict[str, Any], status: int, param: str
) -> None:
    response = in_process().post("/v1/checks", json=fields)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)


def test_a_fault_is_not_a_verdict(in_process: Callable[..., TestClient], written: Callable[[str], str]) -> None:
    replies: dict[str, Take | Reply | str] = {"broken": "no trace\n", "late": Take(written("hello"), raise_at=9)}
    client = in_process(ScriptedEngine(table(replies)))
    for text, failure in (("broken", "invalid_trace"), ("late", "engine_fault")):
        body = client.post("/v1/checks", json={"messages": messages(text)}).json()
        told = body["safer"]
        assert (body["allowed"], body["reasoning"]) == (False, None)
        assert (told["decision"], told["outcome"], told["failure"]) == (None, "failed_closed", failure)
        assert body["moderation"]["input"]["code"] == "failed_closed"
        error = client.post("/v1/checks", json={"messages": messages(text), "safer": {"block": "error"}})
        assert (error.status_code, error.json()["error"]["code"]) == (503, "failed_closed")

    def unreachable(_: EngineRequest) -> Take:
        raise EngineUnavailableError

    down = in_process(ScriptedEngine(unreachable)).post("/v1/checks", json={"messages": messages("hello")})
    assert (down.status_code, down.json()["error"]["code"]) == (503, "guard_unavailable")


def test_views_depth_and_plan(in_process: Callable[..., TestClient]) -> None:
    client = in_process()

    def check(**options: Any) -> dict[str, Any]:
        body: dict[str, Any] = client.post("/v1/checks", json={"messages": messages("hello"), "safer": options}).json()
        return body

    assert check(depth="brief")["safer"]["plan"]["depth"] == "brief"
    hidden = check(trace="none")
    assert (hidden["reasoning"], hidden["safer"]["plan"], hidden["safer"]["trace"]) == (None, None, [])
    redacted = check(trace="redacted")
    assert '"scripted"' not in redacted["reasoning"]
    assert verify(redacted["reasoning"], default_toolkit()).valid
    plan = {**check()["safer"]["plan"], "risk": "medium"}
    assert check(plan=plan)["safer"]["plan"] == plan


@pytest.mark.parametrize(("text", "decision", "outcome", "allowed"), DECISIONS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_completion_may_only_check(
    live: Callable[..., Any], text: str, decision: str, outcome: str, allowed: bool, stream: bool
) -> None:
    client = live().openai
    options = {"extra_body": {"safer": {"mode": "check"}}, "model": "scripted", "messages": messages(text)}
    if stream:
        chunks = list(client.chat.completions.create(stream=True, **options))
        deltas, told = [chunk.choices[0].delta for chunk in chunks], chunks[-1].safer
        content, refusal = ("".join(getattr(delta, key) or "" for delta in deltas) for key in ("content", "refusal"))
        finish = chunks[-1].choices[0].finish_reason
    else:
        reply = client.chat.completions.create(**options)
        (choice,), told = reply.choices, reply.safer
        content, refusal, finish = choice.message.content, choice.message.refusal, choice.finish_reason
    assert (told["decision"], told["outcome"]) == (decision, outcome)
    assert not content
    assert bool(refusal) != allowed
    assert finish == ("stop" if allowed else "content_filter")
