"""Requests that are wrong: exact status, field and code, and never an echo of what was sent."""

import json
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from safer_server.engines.base import ContextLengthError, EngineRequest
from safer_server.engines.scripted import ScriptedEngine, Take

SECRET = "Xyzzy-Secret"


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces its size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def file_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


def picture(width: int = 8, height: int = 8, kind: str = "PNG") -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height)).save(file, kind)
    return file.getvalue()


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


USER = {"role": "user", "content": "hello"}
GOOD: dict[str, Any] = {"model": "scripted", "messages": [USER]}
PLAN = {
    "category": "none", "risk": "low", "persona": "assistant", "topology": "linear", "depth": "standard",
    "tools": ["VISUAL-SCAN", "RISK-SCORER", "SAFETY-GATE"],
}  # fmt: skip


def message(content: object, **fields: object) -> dict[str, Any]:
    return {"messages": [USER, {"role": "user", "content": [{"type": "text", "text": "hello"}, content], **fields}]}


FIELDS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"model": SECRET}, 404, "model", "model_not_found"),
    ({"model": 1}, 400, "model", "invalid_value"),
    ({"messages": []}, 400, "messages", "invalid_value"),
    ({"messages": [USER] * 1025}, 400, "messages", "invalid_value"),
    ({"messages": [{**USER, "content": [{"type": "text", "text": "x"}] * 257}]}, 400, "messages[0].content", "invalid_value"),
    ({"messages": SECRET}, 400, "messages", "invalid_value"),
    ({"messages": None}, 400, "messages", "invalid_value"),
    ({"messages": [SECRET]}, 400, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": SECRET, "content": "x"}]}, 400, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, 400, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": "function", "content": "x"}]}, 400, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": "user"}]}, 400, "messages[0].content", "missing_required_parameter"),
    ({"messages": [{"role": "user", "content": ""}]}, 400, "messages[0].content", "invalid_value"),
    ({"messages": [{"role": "user", "content": []}]}, 400, "messages[0].content", "invalid_value"),
    ({"messages": [{"role": "user", "content": 5}]}, 400, "messages[0].content", "invalid_value"),
    ({"messages": [{**USER, "name": SECRET}]}, 400, "messages[0].name", "unsupported_parameter"),
    ({"messages": [{**USER, "mood": SECRET}]}, 400, "messages[0].mood", "unknown_parameter"),
    ({"messages": [USER, {"role": "assistant", "content": "x"}]}, 400, "messages[1].role", "invalid_value"),
    ({"messages": [{"role": "system", "content": "x"}]}, 400, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": "assistant"}, USER]}, 400, "messages[0]", "missing_required_parameter"),
    (
        {"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}, USER]},
        400, "messages[0].tool_calls", "unsupported_parameter",
    ),
    (
        {"messages": [{"role": "system", "content": [image("data:")]}, USER]},
        400, "messages[0].content[0].type", "invalid_value",
    ),
    (message({"type": "input_audio", "input_audio": {}}), 400, "messages[1].content[1].type", "invalid_value"),
    (message({"type": "text"}), 400, "messages[1].content[1].text", "missing_required_parameter"),
    (message({"type": "image_url", "image_url": SECRET}), 400, "messages[1].content[1].image_url", "invalid_value"),
    (
        message({"type": "image_url", "image_url": {"url": "data:,", "detail": "low"}}),
        400, "messages[1].content[1].image_url.detail", "unsupported_value",
    ),
    (message(image(f"https://example.org/{SECRET}.png")), 400, "messages[1].content[1]", "invalid_image_url"),
    (message(image(f"file:///{SECRET}")), 400, "messages[1].content[1]", "invalid_image_url"),
    (message(image(f"data:image/png,{SECRET}")), 400, "messages[1].content[1]", "invalid_image_url"),
    (message(image("data:image/png;base64")), 400, "messages[1].content[1]", "invalid_image_url"),
    (message(image(f"data:image/svg+xml;base64,{SECRET}")), 400, "messages[1].content[1]", "unsupported_image_type"),
    (message(image(f"data:image/png;base64,{SECRET}")), 400, "messages[1].content[1]", "invalid_base64"),
    (message(image("data:image/png;base64,aGk")), 400, "messages[1].content[1]", "invalid_base64"),
    (message(image("data:image/png;base64,aGk=\n")), 400, "messages[1].content[1]", "invalid_base64"),
    (message(image("data:image/png;base64,")), 400, "messages[1].content[1]", "invalid_image"),
    (message(image(file_url(SECRET.encode()))), 400, "messages[1].content[1]", "invalid_image"),
    (message(image(file_url(b"GIF89a"))), 400, "messages[1].content[1]", "invalid_image"),
    (message(image(file_url(picture()[:45]))), 400, "messages[1].content[1]", "invalid_image"),
    (message(image(file_url(picture(kind="TIFF")))), 400, "messages[1].content[1]", "invalid_image"),
    (message(image(file_url(picture(1, 500)))), 400, "messages[1].content[1]", "invalid_image"),
    (message(image(file_url(png_header(30_000, 30_000)))), 413, "messages[1].content[1]", "too_large"),
    (message(image(file_url(png_header(9_500, 9_500)))), 413, "messages[1].content[1]", "too_large"),
    (message(image(file_url(png_header(6_000, 4_001)))), 413, "messages[1].content[1]", "too_large"),
    ({"tools": []}, 400, "tools", "unsupported_parameter"),
    ({"tools": [{"type": "function"}]}, 400, "tools", "unsupported_parameter"),
    ({"tool_choice": "auto"}, 400, "tool_choice", "unsupported_parameter"),
    ({"functions": [{}]}, 400, "functions", "unsupported_parameter"),
    ({"function_call": "auto"}, 400, "function_call", "unsupported_parameter"),
    ({"logit_bias": {"1": 100}}, 400, "logit_bias", "unsupported_parameter"),
    ({"logprobs": True}, 400, "logprobs", "unsupported_value"),
    ({"top_logprobs": 2}, 400, "top_logprobs", "unsupported_parameter"),
    ({"n": 2}, 400, "n", "unsupported_value"),
    ({"n": True}, 400, "n", "unsupported_value"),
    ({"response_format": {"type": "json_object"}}, 400, "response_format", "unsupported_value"),
    ({"modalities": ["text", "audio"]}, 400, "modalities", "unsupported_value"),
    ({"audio": {}}, 400, "audio", "unsupported_parameter"),
    ({"presence_penalty": 0.5}, 400, "presence_penalty", "unsupported_value"),
    ({"reasoning_effort": "low"}, 400, "reasoning_effort", "unsupported_parameter"),
    ({"store": True}, 400, "store", "unsupported_value"),
    ({"guided_json": {}}, 400, "guided_json", "unknown_parameter"),
    ({"max_token": 5}, 400, "max_token", "unknown_parameter"),
    ({f"<b>{SECRET} \n": 5}, 400, "?", "unknown_parameter"),
    ({"temperature": 2.1}, 400, "temperature", "invalid_value"),
    ({"temperature": -1}, 400, "temperature", "invalid_value"),
    ({"temperature": "0.5"}, 400, "temperature", "invalid_value"),
    ({"top_p": 0}, 400, "top_p", "invalid_value"),
    ({"seed": 2**63}, 400, "seed", "invalid_value"),
    ({"max_tokens": 0}, 400, "max_tokens", "invalid_value"),
    ({"max_tokens": 1.5}, 400, "max_tokens", "invalid_value"),
    ({"max_completion_tokens": -1}, 400, "max_completion_tokens", "invalid_value"),
    ({"stop": ["a"] * 5}, 400, "stop", "invalid_value"),
    ({"stop": [""]}, 400, "stop[0]", "invalid_value"),
    ({"stop": {"a": 1}}, 400, "stop", "invalid_value"),
    ({"stream": "yes"}, 400, "stream", "invalid_value"),
    ({"stream_options": {"include_usage": True}}, 400, "stream_options", "invalid_value"),
    (
        {"stream": True, "stream_options": {"include_obfuscation": True}},
        400, "stream_options.include_obfuscation", "unsupported_value",
    ),
    ({"metadata": {"a": 1}}, 400, "metadata.a", "invalid_value"),
    ({"user": 5}, 400, "user", "invalid_value"),
    ({"safer": []}, 400, "safer", "invalid_value"),
    ({"safer": {"mood": SECRET}}, 400, "safer.mood", "unknown_parameter"),
    ({"safer": {"mode": "watch"}}, 400, "safer.mode", "invalid_value"),
    ({"safer": {"depth": SECRET}}, 400, "safer.depth", "invalid_value"),
    ({"safer": {"trace": SECRET}}, 400, "safer.trace", "invalid_value"),
    ({"safer": {"block": SECRET}}, 400, "safer.block", "invalid_value"),
    ({"safer": {"policy": SECRET}}, 404, "safer.policy", "policy_not_found"),
    ({"safer": {"plan": {}}}, 400, "safer.plan.category", "missing_required_parameter"),
    ({"safer": {"plan": {**PLAN, "category": SECRET}}}, 400, "safer.plan.category", "invalid_value"),
    ({"safer": {"plan": {**PLAN, "topology": "star"}}}, 400, "safer.plan.topology", "invalid_value"),
    ({"safer": {"plan": {**PLAN, "tools": [SECRET]}}}, 400, "safer.plan.tools", "invalid_value"),
    ({"safer": {"plan": {**PLAN, "tools": ["SAFETY-GATE"]}}}, 400, "safer.plan.tools", "invalid_value"),
    ({"safer": {"plan": {**PLAN, "risk": "none"}}}, 400, "safer.plan.risk", "invalid_value"),
    ({"safer": {"plan": PLAN, "depth": "full"}}, 400, "safer.depth", "invalid_value"),
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Any:
    from safer_server.app import create_app
    from safer_server.settings import Settings

    with TestClient(create_app(Settings(), ScriptedEngine()), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(("fields", "status", "param", "code"), FIELDS, ids=lambda value: str(value)[:60])
def test_a_wrong_field_is_named(server: TestClient, fields: dict[str, Any], status: int, param: str, code: str) -> None:
    for stream in ({}, {"stream": True}):
        response = server.post("/v1/chat/completions", json={**GOOD, **stream, **fields})
        error = response.json()["error"]
        assert (response.status_code, error["param"], error["code"]) == (status, param, code)
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
        assert SECRET not in response.text
        assert response.headers["x-request-id"]
        if "stream_options" in fields:
            break


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1},
        {"n": None, "tools": None, "logprobs": False, "response_format": {"type": "text"}, "modalities": ["text"]},
        {"presence_penalty": 0, "frequency_penalty": 0.0, "store": False, "service_tier": "auto"},
        {"temperature": None, "max_tokens": None, "stop": None, "stream": None, "safer": None, "top_p": 1},
        {"user": "u", "safety_identifier": "s", "metadata": {"a": "b"}},
        {"stream": False, "seed": -1, "stop": ["a", "b"]},
        {"messages": [{"role": "assistant", "content": "x", "reasoning": "y", "annotations": []}, USER]},
    ],
)
def test_what_asks_for_nothing_is_accepted(server: TestClient, fields: dict[str, Any]) -> None:
    assert server.post("/v1/chat/completions", json={**GOOD, **fields}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[", b"null", b"[" * 100_000, b"{\"model\": " * 5_000, b"\xff\xfe", b'{"model": "\\ud800"}',
        b'{"temperature": NaN}', json.dumps(GOOD).encode("utf-16"),
    ],
)  # fmt: skip
def test_what_is_not_a_json_object_is_a_400(server: TestClient, body: bytes) -> None:
    response = server.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_that_is_not_declared_as_json_is_refused(server: TestClient, kind: str) -> None:
    response = server.post("/v1/chat/completions", content=json.dumps(GOOD), headers={"Content-Type": kind})
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_a_body_over_the_limit_is_refused_before_it_is_read(in_process: Callable[..., TestClient]) -> None:
    client = in_process(max_body_bytes=1000)
    headers = {"Content-Type": "application/json"}
    announced = client.post("/v1/chat/completions", content=b"x" * 1001, headers=headers)
    assert (announced.status_code, announced.json()["error"]["code"]) == (413, "too_large")
    taken = 0

    def pieces() -> Any:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b" " * 100

    chunked = client.post("/v1/chat/completions", content=pieces(), headers=headers)
    assert chunked.status_code == 413
    assert client.post("/v1/chat/completions", json=GOOD).status_code == 200


def test_caps_on_pictures(in_process: Callable[..., TestClient]) -> None:
    client = in_process(max_images=2, max_image_bytes=200)

    def send(*urls: str) -> tuple[int, str]:
        body = {**GOOD, "messages": [{"role": "user", "content": [image(url) for url in urls]}]}
        response = client.post("/v1/chat/completions", json=body)
        return response.status_code, response.json().get("error", {}).get("param", "")

    small = file_url(picture())
    assert len(picture()) < 200 < len(picture(200, 199, "JPEG"))
    assert send(small, small) == (200, "")
    assert send(small, small, small) == (413, "messages[0].content[2]")
    assert send(small, file_url(picture(200, 199, "JPEG"))) == (413, "messages[0].content[1]")


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_too_long_for_the_model_is_a_400(in_process: Callable[..., TestClient], stream: bool) -> None:
    def long(_: EngineRequest) -> Take:
        raise ContextLengthError(SECRET)

    response = in_process(ScriptedEngine(long)).post("/v1/chat/completions", json={**GOOD, "stream": stream})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")
    assert SECRET not in response.text
