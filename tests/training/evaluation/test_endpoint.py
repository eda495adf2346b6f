"""Endpoints over real HTTP: what replies become, what faults become, and a server that dies in the middle."""

import asyncio
import base64
import io
import itertools
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ports import free_port
from safer_protocol.decision import Decision
from safer_protocol.toolkit import default_toolkit
from safer_training.errors import TargetError, TargetGoneError
from safer_training.evaluation.item import Item
from safer_training.evaluation.lines import read_lines
from safer_training.evaluation.manifest import Manifest
from safer_training.evaluation.replies import Reply
from safer_training.evaluation.run import HOPELESS, Progress
from safer_training.evaluation.runner import Order, carry_out
from safer_training.evaluation.store import Store
from safer_training.evaluation.targets import client
from safer_training.evaluation.targets.endpoint import open_endpoint
from scripted_endpoint import HANG_UP, PROMPT_TOKENS, TOKENS, Fault, Reaction, Said, ScriptedEndpoint, serving
from small_suite import item, order, pictured, png, said
from waiting import PATIENCE

WIRE = """<plan>
category=none; risk=low; persona=educator; topology=linear; depth=standard
[OCR-EXTRACT]
[RISK-SCORER]
[SAFETY-GATE]
</plan>
<thinking>
[OCR-EXTRACT]: found=yes; text="How do I bake bread?"
[RISK-SCORER]: category=none; level=none; score=3
[SAFETY-GATE]: rationale="a kitchen question"; verdict=allow
</thinking>
"""
ANSWER = "<answer>\nMix flour, water and yeast.\n</answer>\n"
CALLS = [
    {"tool": "RISK-SCORER", "fields": {"category": "privacy", "level": "high", "score": 81}},
    {"tool": "SAFETY-GATE", "fields": {"rationale": "", "verdict": "refuse"}},
]
PLAN = {"category": "privacy", "risk": "low", "persona": "guardian", "topology": "mesh", "depth": "brief", "tools": []}
SAFER = {
    "trace_id": "t",
    "plan": PLAN,
    "trace": CALLS,
    "decision": "refuse",
    "outcome": "refused",
    "verification": {"valid": True, "violations": []},
    "timings_ms": {"decision": 1500.0, "total": 9000.0},
    "something": "new",
}


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRIES", 0)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def go(
    endpoint: ScriptedEndpoint,
    folder: Path,
    what: Order,
    told: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    async def everything() -> Progress:
        opened = open_endpoint(endpoint.url, None, default_toolkit(), seconds=PATIENCE, at_once=3)
        async with opened as target:
            return await carry_out(what, target, Store(folder), told)

    return asyncio.run(everything())


def kept(folder: Path) -> dict[str, Reply]:
    return {reply.uid: reply for reply in read_lines(folder / "replies.jsonl", Reply)}


def reply_to(
    script: Callable[[dict[str, Any]], Reaction], folder: Path, asked: Item | None = None, **options: Any
) -> Reply:
    with serving(ScriptedEndpoint(script, **options)) as endpoint:
        go(endpoint, folder, order([asked or item("one")]))
    return kept(folder)["one"]


STOCK: list[tuple[Said, dict[str, Any]]] = [
    (
        Said("Fold it twice."),
        {"answer": "Fold it twice.", "decision": "allow", "valid": None, "finish_reason": "stop"},
    ),
    (Said("I'm sorry, but I can't help."), {"answer": "I'm sorry, but I can't help.", "decision": "refuse"}),
    (Said(refusal="No."), {"answer": None, "refusal": "No.", "decision": "refuse"}),
    (Said("Half an", finish="content_filter"), {"decision": "refuse", "finish_reason": "content_filter"}),
    (Said("Well", reasoning="hm"), {"trace": "hm", "answer": "Well", "decision": "allow"}),
    (Said("<think>\nhm\n</think>\n\nWell"), {"trace": "hm", "answer": "Well", "decision": "allow"}),
    (Said("<thinking>hm</thinking><answer>Well</answer>"), {"trace": "hm", "answer": "Well"}),
    (
        Said("<think>\nhm", finish="length"),
        {"trace": "hm", "answer": None, "decision": None, "finish_reason": "length"},
    ),
    (Said(""), {"answer": None, "decision": None, "error": None}),
    (
        Said(WIRE + ANSWER),
        {"trace": WIRE, "answer": "Mix flour, water and yeast.", "decision": "allow", "valid": True, "risk": 0.03},
    ),
    (Said(WIRE.replace("linear", "spiral") + ANSWER), {"valid": False, "decision": "allow"}),
    (Said("<plan>\n"), {"trace": "<plan>\n", "answer": None, "valid": False, "decision": None, "risk": None}),
]


def replies_to(reactions: Sequence[Reaction], folder: Path, **options: Any) -> list[Reply]:
    """Ask as many questions as there are reactions, and return the replies."""
    with serving(ScriptedEndpoint(lambda body: reactions[int(body["messages"][0]["content"])], **options)) as endpoint:
        go(endpoint, folder, order([item(str(number), str(number)) for number in range(len(reactions))]))
    return [reply for _, reply in sorted(kept(folder).items(), key=lambda pair: int(pair[0]))]


def agrees(reply: Reply, wanted: dict[str, Any]) -> bool:
    found = reply.model_dump(mode="json")
    return {key: found[key] for key in wanted} == wanted


def test_what_a_stock_server_says(tmp_path: Path) -> None:
    found = replies_to([says for says, _ in STOCK], tmp_path)
    for reply, (says, wanted) in zip(found, STOCK, strict=True):
        assert agrees(reply, wanted), (says, reply)
        assert (reply.prompt_tokens, reply.completion_tokens) == (PROMPT_TOKENS, TOKENS)
        assert (reply.outcome, reply.error) == (None, None)
        if reply.answer or reply.refusal:
            assert 0 < (reply.decision_seconds or 0) <= reply.seconds
    manifest = Manifest.model_validate_json((tmp_path / "run.json").read_text())
    assert (manifest.target.protocol_hash, manifest.target.refusal_rule) == (None, "declining-openings-1")


GUARD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"decision": "refuse", "outcome": "refused", "valid": True, "risk": 0.81, "decision_seconds": 1.5}),
    ({"trace": [], "plan": {**PLAN, "risk": "medium"}}, {"risk": 0.5}),
    ({"trace": [], "plan": None}, {"risk": None, "decision": "refuse"}),
    (
        {"decision": None, "outcome": "failed_closed", "verification": {"valid": False}, "timings_ms": {}},
        {"decision": None, "outcome": "failed_closed", "valid": False, "risk": None, "error": None},
    ),
    ({"decision": "allow", "outcome": "would_refuse"}, {"decision": "allow", "outcome": "would_refuse"}),
]


def test_what_a_guard_says_counts_before_its_words(tmp_path: Path) -> None:
    words = Said(refusal="I can't help with this.", reasoning=WIRE, finish="content_filter")
    found = replies_to([replace(words, safer={**SAFER, **changes}) for changes, _ in GUARD], tmp_path, protocol="abc")
    for reply, (changes, wanted) in zip(found, GUARD, strict=True):
        assert agrees(reply, wanted), (changes, reply)
        assert (reply.refusal, reply.trace) == ("I can't help with this.", WIRE)
    manifest = Manifest.model_validate_json((tmp_path / "run.json").read_text())
    assert (manifest.target.protocol_hash, manifest.target.refusal_rule) == ("abc", None)


FAULTS: list[tuple[Reaction, str]] = [
    (Fault(400, "invalid_value"), "status 400: scripted"),
    (Fault(413), "status 413: scripted"),
    (Fault(401), "status 401: scripted"),
    (Fault(503), "status 503: scripted"),
    (HANG_UP, "no connection"),
    (Said("Half an ans", finish=None), "the reply ended before its end"),
    (
        Said("Half", raw=b'data: {"error": {"message": "the engine is gone"}}\n\n'),
        "a fault in the reply: the engine is gone",
    ),
    (Said("Half", raw=b"data: {not json\n\n"), "a reply that is not JSON"),
    (
        Said("Half", raw=b'data: {"choices": [{"delta": {"content": 5}}]}\n\n'),
        "a reply of another form: choices.0.delta.content",
    ),
    (Said("x", safer={"decision": "maybe"}), "a reply of another form: safer.decision"),
]


def test_faults_are_error_rows(tmp_path: Path) -> None:
    found = replies_to([reaction for reaction, _ in FAULTS], tmp_path)
    for reply, (reaction, error) in zip(found, FAULTS, strict=True):
        assert (reply.error or "").startswith(error), (reaction, reply)
        assert (reply.answer, reply.decision, reply.valid) == (None, None, None)


def test_a_filter_before_the_model_is_a_refusal(tmp_path: Path) -> None:
    found = reply_to(lambda body: Fault(400, "content_filter"), tmp_path)
    assert (found.error, found.decision, found.finish_reason) == (None, Decision.REFUSE, "content_filter")


def test_a_server_that_hangs_is_left(tmp_path: Path) -> None:
    may_end = threading.Event()

    def script(body: dict[str, Any]) -> Reaction:
        may_end.wait(PATIENCE)
        return HANG_UP

    async def everything(url: str) -> None:
        # Only the question is given little time: to find out what is served may take long on a busy machine.
        async with open_endpoint(url, None, default_toolkit(), seconds=PATIENCE, at_once=1) as target:
            impatient = replace(target, seconds=0.3)
            await carry_out(order([item("one")]), impatient, Store(tmp_path), lambda progress: None)

    with serving(ScriptedEndpoint(script)) as endpoint:
        asyncio.run(everything(endpoint.url))
        may_end.set()
    assert kept(tmp_path)["one"].error == "no reply in 0.3 seconds"


def test_what_is_sent(tmp_path: Path) -> None:
    talk = (
        said("system", "Be brief."),
        said("user", None, "", "What is it?"),
        said("assistant", "A boat."),
        said("user", "Sure?"),
    )
    what = order(
        [item("one", prompt=talk, images=(png((400, 300)),))],
        max_pixels=1200,
        top_p=0.9,
        extra={"repetition_penalty": 1.1},
    )
    with serving(ScriptedEndpoint(lambda body: Said("Yes."))) as endpoint:
        go(endpoint, tmp_path, what)
    (body,) = endpoint.bodies
    picture = body["messages"][1]["content"][0]["image_url"].pop("url")
    assert body == {
        "model": "scripted",
        "temperature": 0.0,
        "top_p": 0.9,
        "max_completion_tokens": 300,
        "stream": True,
        "stream_options": {"include_usage": True},
        "repetition_penalty": 1.1,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {}}, {"type": "text", "text": "What is it?"}],
            },
            {"role": "assistant", "content": "A boat."},
            {"role": "user", "content": "Sure?"},
        ],
    }
    kind, _, content = picture.partition(";base64,")
    assert kind == "data:image/jpeg"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (40, 30)


def test_replies_to_be_judged_are_checked_by_a_guard_and_are_errors_elsewhere(tmp_path: Path) -> None:
    judged = item("one", prompt=(said("user", "A recipe?"), said("assistant", "Flour and water.")))
    stock = reply_to(lambda body: Said("x"), tmp_path / "stock", judged)
    assert "judges no replies" in (stock.error or "")
    bodies = []

    def script(body: dict[str, Any]) -> Reaction:
        bodies.append(body)
        return Said(safer={**SAFER, "decision": "allow", "outcome": "answered"})

    guard = reply_to(script, tmp_path / "guard", judged, protocol="abc")
    assert (guard.error, guard.decision) == (None, Decision.ALLOW)
    assert bodies[0]["safer"] == {"mode": "check"}


def test_a_broken_picture_is_an_error_of_its_row_alone(tmp_path: Path) -> None:
    items = [
        pictured("one", "?", image=tmp_path / "missing.png"),
        pictured("two", "?"),
        pictured("three", "?", image=b"<html>"),
    ]
    with serving(ScriptedEndpoint(lambda body: Said("A boat."))) as endpoint:
        done = go(endpoint, tmp_path / "run", order(items))
    assert (done.replied, done.errors) == (1, 2)
    assert kept(tmp_path / "run")["one"].error == "picture 1 cannot be read: FileNotFoundError"
    assert len(endpoint.bodies) == 1


def test_an_endpoint_that_dies_at_row_seven_is_gone_on_with(tmp_path: Path) -> None:
    items = [item(str(number)) for number in range(30)]
    what, numbers, seven_replied = order(items), itertools.count(1), threading.Event()

    def script(body: dict[str, Any]) -> Reaction:
        if next(numbers) > 7:
            assert seven_replied.wait(PATIENCE)
            return HANG_UP
        return Said("Fold it.")

    def told(progress: Progress) -> None:
        if progress.replied == 7:
            seven_replied.set()

    gone = pytest.raises(TargetGoneError, match=r"scripted replies no more: no connection\. 7 of 30")
    with serving(endpoint := ScriptedEndpoint(script, port=free_port())), gone:
        go(endpoint, tmp_path, what, told)
    found = kept(tmp_path)
    assert sum(reply.error is None for reply in found.values()) == 7
    assert HOPELESS <= sum(reply.error is not None for reply in found.values()) < HOPELESS + 3
    with pytest.raises(TargetError, match="does not list its models: no connection"):
        go(endpoint, tmp_path, what)
    with serving(reborn := ScriptedEndpoint(lambda body: Said("Fold it."), port=endpoint.port)):
        done = go(reborn, tmp_path, what)
    assert (done.replied, done.errors) == (30, 0)
    assert len(reborn.bodies) == 23, "what had a reply is not asked again"
    assert all(reply.answer == "Fold it." for reply in kept(tmp_path).values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ()}, r"does not list its models: status 404: no such page; is this its base URL"),
        ({"models": ("a", "b")}, "serves a, b: name one with --served"),
    ],
)
def test_an_endpoint_that_cannot_be_used_is_told_before_anything_is_written(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with (
        serving(ScriptedEndpoint(lambda body: Said("x"), **options)) as endpoint,
        pytest.raises(TargetError, match=message),
    ):
        go(endpoint, tmp_path / "run", order([item("one")]))
    assert not (tmp_path / "run").exists()
    assert not endpoint.bodies


def test_no_secret_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-1")
    with serving(ScriptedEndpoint(lambda body: Said("x"))) as endpoint:
        url = endpoint.url.replace("//", "//user:secret-2@") + "?key=secret-3"

        async def everything() -> None:
            async with open_endpoint(url, "named", default_toolkit(), seconds=PATIENCE, at_once=1) as target:
                await carry_out(order([item("one")]), target, Store(tmp_path), lambda progress: None)

        asyncio.run(everything())
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "secret" not in written
    assert json.loads((tmp_path / "run.json").read_text())["target"]["endpoint"] == endpoint.url
