"""The edge: request ids, headers, unknown paths, and errors that give nothing away."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from safer_server.edge import Edge, add_error_handlers
from safer_server.engines.scripted import ScriptedEngine, table

ENVELOPE = {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/", 405, "method_not_allowed"),
        ("GET", "/v1/nothing-secret", 404, "not_found"),
        ("GET", "/v1/models/", 404, "model_not_found"),
        ("GET", "/v1/models/other", 404, "model_not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/docs", 404, "not_found"),
        ("POST", "/openapi.json", 405, "method_not_allowed"),
    ],
)
def test_wrong_paths_and_methods(
    in_process: Callable[..., TestClient], method: str, path: str, status: int, code: str
) -> None:
    response = in_process().request(method, path)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert set(response.json()["error"]) == ENVELOPE
    assert "secret" not in response.text


def test_every_response_has_an_id_of_its_own(
    in_process: Callable[..., TestClient], chat_body: Callable[..., dict[str, Any]]
) -> None:
    client = in_process()
    responses = [
        client.get("/healthz"),
        client.get("/nothing"),
        client.get("/metrics"),
        client.post("/v1/chat/completions", json=chat_body()),
        client.post("/v1/chat/completions", json=chat_body(stream=True)),
        client.post("/v1/chat/completions", content=b"{"),
    ]
    ids = [response.headers["x-request-id"] for response in responses]
    assert len(set(ids)) == len(ids)
    assert all(each.startswith("req_") for each in ids)


def test_an_unexpected_error_is_a_500_without_details(server_log: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    app.add_middleware(Edge)
    add_error_handlers(app)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("detail-secret")

    @app.get("/typed")
    async def typed(number: int) -> int:
        return number

    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.get("/broken")
        assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
        assert "secret" not in response.text
        assert response.headers["x-request-id"] in server_log.text
        wrong = client.get("/typed", params={"number": "secret"})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "query.number")
        assert "secret" not in wrong.text


@pytest.mark.parametrize(("given", "taken"), [
    ("mine", True), ("a" * 128, True), ("00-4bf92f_35.77:b3", True), ("a" * 129, False), ("", False), ("a b", False),
    ("a\tb", False), ("caf\u00e9", False), ("<b>", False), ("${jndi}", False), ("a,b", False),
])  # fmt: skip
def test_a_callers_id_is_taken_over_where_it_can_do_no_harm(
    in_process: Callable[..., TestClient], chat_body: Callable[..., dict[str, Any]], given: str, taken: bool
) -> None:
    client = in_process()
    headers = {"x-request-id": given.encode("latin-1")}
    for response in (
        client.get("/healthz", headers=headers),  # type: ignore[arg-type]
        client.get("/nothing", headers=headers),  # type: ignore[arg-type]
        client.post("/v1/chat/completions", json=chat_body(stream=True), headers=headers),  # type: ignore[arg-type]
    ):
        assert (response.headers["x-request-id"] == given) is taken
        assert taken or response.headers["x-request-id"].startswith("req_")


def test_every_response_is_strict(
    in_process: Callable[..., TestClient], chat_body: Callable[..., dict[str, Any]]
) -> None:
    client = in_process(ScriptedEngine(table({"broken": "free text"})), max_body_bytes=1000)
    responses = {
        200: client.get("/healthz"),
        201: client.post("/v1/chat/completions", json=chat_body(stream=True)),
        404: client.get("/nothing"),
        405: client.post("/v1/models"),
        413: client.post("/v1/chat/completions", json=chat_body("x" * 1000)),
        503: client.post("/v1/chat/completions", json=chat_body("broken", safer={"block": "error"})),
    }
    for status, response in responses.items():
        assert response.status_code == (200 if status == 201 else status)
        for name, value in {
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
            "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
            "referrer-policy": "no-referrer",
        }.items():
            assert response.headers.get_list(name) == [value]
