"""What is recorded of a case: one record each, the same account as the reply's, and no more text than the operator wants."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from api_keys import bearer, entry, keys
from audited import MESSAGES, ask, entries, recording, records
from safer_protocol.receipt import digest
from safer_protocol.text import print_reply
from safer_server.engines.base import EngineRequest
from safer_server.engines.markers import by_markers
from safer_server.engines.scripted import ScriptedEngine, Take, table
from scripted_upstream import MODEL, ScriptedUpstream, serving
from watching import WATCHING

CANARY = "canary-7f3a"


def sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def ending(outcome: str, **fields: object) -> dict[str, object]:
    return {"outcome": outcome, **fields}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("hello", ending("answered", decision="allow", categories=[])),
        ("steal", ending("refused", decision="refuse", categories=["nonviolent_crimes"], severity="high")),
        ("medicine", ending("safe_completed", decision="safe_complete")),
        ("unclear", ending("clarified", decision="clarify")),
        ("broken", ending("failed_closed", decision=None, failure="invalid_trace", valid=False)),
        ("fault", ending("failed_closed", decision=None, failure="engine_fault")),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_every_case_leaves_one_record(message: str, expected: dict[str, object], stream: bool, tmp_path: Path) -> None:
    script = table({"broken": "free text\n", "fault": Take("<plan>", raise_at=1)})
    with recording(tmp_path, ScriptedEngine(script)) as client:
        response = ask(client, message, stream=stream)
    frames = (
        [line[6:] for line in response.text.splitlines() if line.startswith("data: {")] if stream else [response.text]
    )
    told = json.loads(frames[-1])["safer"]
    (record,) = records(tmp_path)
    assert {key: record[key] for key in expected} == expected
    assert {key: record[key] for key in ("trace_id", "plan", "policy_hash")} == {
        key: told[key] for key in ("trace_id", "plan", "policy_hash")
    }
    assert record["trace_sha256"] == digest(told["trace"])
    assert record["request_id"] == response.headers["x-request-id"]
    (written,) = entries(tmp_path)
    assert json.loads(written.receipt) == told["receipt"]
    assert told["receipt"]["parts"] == [{"part": "messages[0].content", "sha256": sha(message)}]


def test_the_log_can_be_read_from_the_first_request_on(tmp_path: Path) -> None:
    with recording(tmp_path) as client:
        response = client.get("/v1/traces")
    assert (response.status_code, response.json()["data"]) == (200, [])


def test_all_endpoints_record_and_say_who_asked(tmp_path: Path) -> None:
    user = {"role": "user", "content": "hello"}
    with recording(tmp_path, keys=keys(entry("alice"))) as client:
        client.headers.update({**bearer("alice"), "x-request-id": "mine"})
        ask(client)
        client.post("/v1/checks", json={"messages": [user, {"role": "assistant", "content": "steal"}]})
        client.post("/v1/moderations", json={"input": ["one", "two"]})
        body = {"texts": ["hello"], "input_type": "request", "request_data": {}}
        client.post("/beta/litellm_basic_guardrail_api", json=body)
    found = records(tmp_path)
    assert sorted(record["endpoint"] for record in found) == ["chat", "checks", "litellm", "moderations", "moderations"]
    assert {(record["caller"], record["request_id"]) for record in found} == {("alice", "mine")}
    (check,) = (record for record in found if record["endpoint"] == "checks")
    assert (check["subject"], check["is_check"], check["outcome"]) == ("reply", True, "refused")


def test_what_is_no_case_leaves_no_record(tmp_path: Path) -> None:
    with recording(tmp_path) as client:
        assert ask(client, max_tokens=0).status_code == 400
        assert (
            ask(client, [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]).status_code == 400
        )
        assert client.post("/v1/chat/completions", content=b"{").status_code == 415
        assert client.get("/v1/models").status_code == 200
    assert records(tmp_path) == []


def test_refusals_told_as_errors_are_recorded(tmp_path: Path) -> None:
    with recording(tmp_path) as client:
        assert ask(client, "steal", safer={"block": "error"}).status_code == 400
    assert [record["outcome"] for record in records(tmp_path)] == ["refused"]


def test_a_watching_policy_is_recorded_as_such(tmp_path: Path) -> None:
    with recording(tmp_path, served=(WATCHING,)) as client:
        ask(client, "steal", safer={"policy": "watching"})
    (record,) = records(tmp_path)
    assert (record["policy"], record["decision"], record["outcome"]) == ("watching", "refuse", "would_refuse")


def test_another_models_reply_and_its_verdict_are_recorded(tmp_path: Path) -> None:
    with serving(ScriptedUpstream()) as upstream, recording(tmp_path, **upstream.settings) as client:
        told = ask(client, model=MODEL).json()
    (record,) = records(tmp_path)
    assert (record["upstream"], record["reply"]["decision"]) == (MODEL, "allow")
    assert record["answer_sha256"] == sha(told["choices"][0]["message"]["content"])
    assert told["safer"]["receipt"]["reply"] == digest(record["reply"])


def test_pictures_are_recorded_by_their_file(tmp_path: Path, data_url: Callable[..., str]) -> None:
    from base64 import b64decode

    url = data_url()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what is it?"}]
    with recording(tmp_path / "hashed") as client:
        ask(client, content)
    with recording(tmp_path / "full", audit_content="full") as client:
        ask(client, content)
    expected = sha256(b64decode(url.partition(",")[2])).hexdigest()
    for folder, text in (("hashed", None), ("full", url)):
        (record,) = records(tmp_path / folder)
        picture = record["conversation"][0]["parts"][0]
        assert picture == {"part": "messages[0].content[0]", "type": "image", "sha256": expected, "text": text}


def leaky(request: EngineRequest) -> Any:
    """Repeat what the user said wherever a trace has room for it."""
    reply = by_markers(request)
    calls = tuple(
        call.model_copy(
            update={
                "fields": {
                    key: CANARY if value == "scripted" else (CANARY,) if value == () else value
                    for key, value in call.fields.items()
                }
            }
        )
        for call in reply.trace
    )
    return reply.model_copy(update={"trace": calls, "answer": f"You said {CANARY}."})


UNSOUND = f'<plan>\ncategory={CANARY}; risk=none\n</plan>\n<thinking>\n[{CANARY}]: {CANARY}="{CANARY}"\n</thinking>\n'


def holding_the_canary(folder: Path) -> list[Path]:
    """The files that repeat it; those that a running server moves into its database meanwhile are looked at there."""
    found = []
    for root, _, names in os.walk(folder):
        for file in (Path(root) / name for name in names):
            with suppress(FileNotFoundError):
                if CANARY.encode() in file.read_bytes().lower():
                    found.append(file)
    return found


@pytest.mark.parametrize("content", ["none", "hashed", "redacted", "default"])
@pytest.mark.parametrize("script", [leaky, lambda _: UNSOUND, lambda _: Take(UNSOUND, raise_at=3)])
def test_no_text_is_kept_unless_it_is_wanted(content: str, script: Any, tmp_path: Path) -> None:
    chosen: dict[str, Any] = {} if content == "default" else {"audit_content": content}
    with recording(tmp_path, ScriptedEngine(script), **chosen) as client:
        told = ask(
            client, CANARY, stop=[CANARY.upper()], user=CANARY, metadata={CANARY: CANARY}, safety_identifier=CANARY
        )
        assert told.status_code == 200
        ask(client, CANARY, stream=True)
        client.post("/v1/checks", json={"messages": [{"role": "user", "content": CANARY}]})
        body = {"structured_messages": [{"role": CANARY, "content": [{"type": CANARY, CANARY: CANARY}, CANARY]}],
                "input_type": "request", "request_data": {CANARY: CANARY}, "images": [f"https://{CANARY}/a.png"]}  # fmt: skip
        assert client.post("/beta/litellm_basic_guardrail_api", json=body).status_code == 200
        assert not holding_the_canary(tmp_path)
        assert CANARY not in client.get("/v1/traces").text
    assert len(records(tmp_path)) == 4
    assert not holding_the_canary(tmp_path)


@pytest.mark.parametrize(
    ("content", "hashes", "trace", "texts"),
    [("none", 0, None, 0), ("hashed", 1, None, 0), ("redacted", 1, [""], 0), ("full", 1, [CANARY], 1)],
)
def test_each_content_keeps_more(
    content: str, hashes: int, trace: list[str] | None, texts: int, tmp_path: Path
) -> None:
    with recording(tmp_path, ScriptedEngine(leaky), audit_content=content) as client:
        receipt = ask(client, CANARY).json()["safer"]["receipt"]
    (record,) = records(tmp_path)
    (part,) = record["conversation"][0]["parts"]
    hashed = sha(CANARY) if hashes else None
    assert (part["sha256"], record["answer_sha256"]) == (hashed, sha(f"You said {CANARY}.") if hashes else None)
    assert [one["sha256"] for one in receipt["parts"]] == ([hashed] if hashes else [])
    assert (part["text"], record["answer"]) == ((CANARY, f"You said {CANARY}.") if texts else (None, None))
    rationales = record["trace"] and [
        call["fields"]["rationale"] for call in record["trace"] if "rationale" in call["fields"]
    ]
    assert rationales == trace
    assert len(record["tools"]) == 4


@pytest.mark.parametrize("message", ["\u0000\u001f\u2028\U0001f642\ufffe", "a" * 100_000, '\x7f\\"</plan>\n'])
def test_strange_texts_are_recorded_as_they_are(message: str, tmp_path: Path) -> None:
    with recording(tmp_path, audit_content="full") as client:
        assert ask(client, message).status_code == 200
        assert ask(client, message, seed=2**63 - 1, temperature=0.1, top_p=1e-9).status_code == 200
    for record in records(tmp_path):
        assert record["conversation"][0]["parts"][0]["text"] == message
        assert record["conversation"][0]["parts"][0]["sha256"] == sha(message)


@pytest.mark.parametrize("content", ["none", "full"])
@pytest.mark.parametrize("score", ["9007199254740993", "-1", "9" * 400, "1.5", "1e3", "NaN"])
def test_numbers_that_a_model_makes_up_are_recorded_as_a_failure(score: str, content: str, tmp_path: Path) -> None:
    def script(request: EngineRequest) -> str:
        return print_reply(by_markers(request), request.toolkit).replace("score=0", f"score={score}")

    with recording(tmp_path, ScriptedEngine(script), audit_content=content) as client:
        assert ask(client).json()["safer"]["outcome"] == "failed_closed"
    assert [record["failure"] for record in records(tmp_path)] == ["invalid_trace"]


def test_an_audit_log_that_is_off_leaves_nothing(tmp_path: Path) -> None:
    with recording(tmp_path / "off", audit=False) as client:
        reply = ask(client).json()
        assert reply["safer"]["receipt"] is None
        assert client.get("/v1/traces").status_code == 404
        assert client.get("/.well-known/safer-receipt-keys.json").status_code == 404
        assert "safer_audit" not in client.get("/metrics").text
    assert not (tmp_path / "off").exists()


def test_chains_are_numbered_for_each_process(tmp_path: Path) -> None:
    for _ in range(2):
        with recording(tmp_path) as client:
            for message in MESSAGES:
                ask(client, message)
    receipts = [json.loads(entry.receipt) for entry in entries(tmp_path)]
    assert [receipt["sequence"] for receipt in receipts] == [*range(5), *range(5)]
    assert len({receipt["server"] for receipt in receipts}) == 2
    assert [receipt["previous"] is None for receipt in receipts] == [True, *[False] * 4] * 2
