"""Who is let in: keys, scopes, and what must not come out whatever is tried."""

from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.testclient import TestClient
from typer.testing import CliRunner

from api_keys import bearer, entry, key_of, keys
from safer_server.access import Access, Permit
from safer_server.app import create_app
from safer_server.cli import app
from safer_server.edge import Edge, add_error_handlers
from safer_server.engines.scripted import ScriptedEngine
from safer_server.keys import KeyEntry, Keys, Scope
from safer_server.quotas import open_quotas
from safer_server.settings import Settings
from waiting import PATIENCE

CONSOLE = {"/", "/console/console.css", "/console/console.js"}
PUBLIC = {"/healthz", "/readyz", "/version", "/openapi.json", "/.well-known/safer-receipt-keys.json", *CONSOLE}
ALICE, PROM = entry("alice"), entry("prom", "metrics", "audit")
CHAT = [("GET", "/v1/models"), ("GET", "/v1/models/scripted"), ("GET", "/v1/protocol"), ("POST", "/v1/traces/verify"),
        ("POST", "/v1/chat/completions")]  # fmt: skip


@pytest.fixture
def guarded(in_process: Callable[..., TestClient]) -> TestClient:
    return in_process(keys=keys(ALICE, PROM))


def test_no_path_is_open_by_accident() -> None:
    guarded = create_app(Settings(keys=keys(ALICE)), ScriptedEngine())  # type: ignore[arg-type]
    assert guarded.routes
    for route in guarded.routes:
        assert isinstance(route, APIRoute), f"{route}: whether this is public cannot be checked"
        permits = [each.call for each in route.dependant.dependencies if isinstance(each.call, Permit)]
        assert len(permits) == (route.path not in PUBLIC), (
            f"{route.path} needs a scope, or a place among the public ones"
        )
        assert route.body_field is None, f"{route.path}: FastAPI would read the body before the key is checked"


@pytest.mark.parametrize("path", sorted(PUBLIC))
def test_public_paths_ask_for_nothing(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code in (200, 503)
    assert guarded.get(path, headers={"Authorization": "Bearer wrong"}).status_code in (200, 503)


@pytest.mark.parametrize(("method", "path"), [*CHAT, ("GET", "/metrics")])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer  "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": key_of("alice")},
        {"Authorization": f"Basic {key_of('alice')}"},
        {"Authorization": f"Bearer {key_of('alice')} {key_of('alice')}"},
        {"Authorization": f"Bearer {ALICE['sha256']}"},
        {"Authorization": b"Bearer \xff\xfe"},
        {"x-api-key": ""},
        {"x-api-key": "wrong"},
        {"x-api-key": f"Bearer {key_of('alice')}"},
        {"Authorization": "Bearer wrong", "x-api-key": key_of("alice")},
        {"api-key": key_of("alice")},
        {"Cookie": f"key={key_of('alice')}"},
    ],
)
def test_without_a_known_key_there_is_nothing(
    guarded: TestClient, method: str, path: str, headers: dict[str, str]
) -> None:
    response = guarded.request(method, path, headers=headers, json=None if method == "GET" else {})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "invalid_api_key")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers",
    [bearer("alice"), {"x-api-key": key_of("alice")}, {"Authorization": f"bearer  {key_of('alice')} "},
     {"Authorization": "Basic eDp5", "x-api-key": key_of("alice")}],
)  # fmt: skip
def test_a_known_key_is_let_in_either_way(guarded: TestClient, headers: dict[str, str]) -> None:
    assert guarded.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("name", "allowed", "refused"), [("alice", CHAT, [("GET", "/metrics")]), ("prom", [("GET", "/metrics")], CHAT)]
)
def test_a_key_opens_its_scopes_alone(
    guarded: TestClient, name: str, allowed: list[tuple[str, str]], refused: list[tuple[str, str]]
) -> None:
    for method, path in allowed:
        response = guarded.request(method, path, headers=bearer(name), json=None if method == "GET" else {})
        assert response.status_code in (200, 400)  # an empty object is no request
    for method, path in refused:
        response = guarded.request(method, path, headers=bearer(name))
        assert (response.status_code, response.json()["error"]["code"]) == (403, "insufficient_scope")


def test_the_official_client_knows_these_errors(
    live: Callable[..., Any], chat_body: Callable[..., dict[str, Any]]
) -> None:
    client = live(keys=keys(ALICE, PROM)).openai
    asked = client.with_options(api_key=key_of("alice")).chat.completions.create(**chat_body())
    assert asked.safer["outcome"] == "answered"
    with pytest.raises(openai.AuthenticationError, match="asks for an API key"):
        client.chat.completions.create(**chat_body())
    with pytest.raises(openai.PermissionDeniedError, match="scope chat"):
        client.with_options(api_key=key_of("prom")).chat.completions.create(**chat_body())


def test_the_command_line_sends_a_key(live: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asking = ["ask", "hello", "--url", live(keys=keys(ALICE)).url]
    refused = CliRunner().invoke(app, asking)
    assert (refused.exit_code, "asks for an API key" in refused.stderr) == (1, True)
    monkeypatch.setenv("SAFER_KEY", key_of("alice"))
    assert CliRunner().invoke(app, asking).exit_code == 0


def test_keys_come_out_nowhere(
    live: Callable[..., Any],
    chat_body: Callable[..., dict[str, Any]],
    server_log: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings: dict[str, Any] = {"keys": keys({**ALICE, "rate": "3/hour"}, PROM)}
    told, seen = repr(Settings(**settings)), set()
    with httpx.Client(base_url=live(**settings).url, trust_env=False, timeout=PATIENCE) as client:
        for key in (key_of("alice"), key_of("prom"), "sk-safer-wrong", "sk-safer-wr\u00f6ng"):
            for name, value in ((b"Authorization", f"Bearer {key}"), (b"x-api-key", key)):
                for body in (chat_body(), chat_body(n=2), {}):
                    response = client.post("/v1/chat/completions", json=body, headers={name: value.encode("latin-1")})
                    told += response.text + str(response.headers)
                    seen.add(response.status_code)
    assert seen == {200, 400, 401, 403, 429}
    told += "".join(capfd.readouterr())
    told += "\n".join(server_log.handler.format(record) for record in server_log.records if "http" not in record.name)
    for secret in (key_of("alice"), key_of("prom"), "sk-safer-wr", ALICE["sha256"], PROM["sha256"]):
        assert secret not in told


def test_the_routes_know_the_caller() -> None:
    plain = FastAPI()
    plain.add_middleware(Edge)
    add_error_handlers(plain)
    access = Access(Keys([KeyEntry.model_validate(ALICE)]), open_quotas("memory://", 1))

    @plain.get("/caller", dependencies=[access.require(Scope.CHAT)])
    async def caller(request: Request) -> str:
        return str(request.state.caller)

    with TestClient(plain) as client:
        assert client.get("/caller", headers=bearer("alice")).json() == "alice"
