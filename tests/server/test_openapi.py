"""The server's own OpenAPI document, and requests that schemathesis makes from it: no 5xx, and nothing that it does not say."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import settings
from jsonschema_rs import validator_for
from schemathesis.checks import CHECKS
from starlette.testclient import TestClient

from attack import EXAMPLES
from safer_server.app import create_app
from safer_server.engines.scripted import ScriptedEngine
from safer_server.openapi import document
from safer_server.settings import Settings

APP = create_app(Settings(), ScriptedEngine(model="tiny"))
"""Schemathesis starts it with its first request, and stops it with the process: other tests start apps of their own."""
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)
DOCUMENT: dict[str, Any] = SCHEMA.raw_schema
POSTS = {path: item["post"] for path, item in DOCUMENT["paths"].items() if "post" in item}
FAULTS = {"failed_closed", "not_ready"}
"""What a scripted server may answer with a 5xx, since it was asked to."""
EXCLUDED: Any = CHECKS.get_by_names(["positive_data_acceptance", "not_a_server_error"])
"""A plan, picture or model of the right form may still be wrong, which no schema says; for server errors see `FAULTS`."""


@SCHEMA.parametrize()
@settings(max_examples=EXAMPLES // 10, derandomize=True, deadline=None, database=None)
def test_the_server_does_what_its_document_says(case: Any) -> None:
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body["model"] = "tiny"
    response = case.call_and_validate(excluded_checks=EXCLUDED)
    assert response.status_code < 500 or response.json()["error"]["code"] in FAULTS


def test_every_path_is_described() -> None:
    served = {(route.path, *sorted(route.methods)) for route in APP.routes if isinstance(route, APIRoute)}
    told = {(path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item}
    pages = {"/", "/console/console.css", "/console/console.js", "/openapi.json"}
    assert {(path.replace(":path}", "}"), method) for path, method in served} == told | {
        (path, "GET") for path in pages
    }


def test_every_reference_leads_somewhere() -> None:
    named = set(re.findall(r"'#/components/schemas/([^']+)'", repr(DOCUMENT)))
    assert named <= set(DOCUMENT["components"]["schemas"])
    assert "$defs" not in repr(DOCUMENT)


@pytest.mark.parametrize("path", POSTS)
def test_every_body_has_a_schema_with_an_example_that_works(path: str, in_process: Callable[..., TestClient]) -> None:
    body = POSTS[path]["requestBody"]["content"]["application/json"]["schema"]
    schema = {**body, "components": DOCUMENT["components"]}
    (example,) = body["examples"]
    assert validator_for(schema).is_valid(example)
    assert not validator_for(schema).is_valid([])
    told = in_process(ScriptedEngine(model="tiny")).post(path, json=example)
    assert told.status_code == 200
    answer = POSTS[path]["responses"]["200"]["content"]["application/json"]["schema"]
    assert validator_for({**answer, "components": DOCUMENT["components"]}).is_valid(told.json())
    assert told.json().get("valid", True)


def test_a_stream_says_what_its_events_are(in_process: Callable[..., TestClient]) -> None:
    content = POSTS["/v1/chat/completions"]["responses"]["200"]["content"]
    schema = content["text/event-stream"]["itemSchema"]["properties"]["data"]["anyOf"][0]["contentSchema"]["anyOf"][0]
    validator = validator_for({**schema, "components": DOCUMENT["components"]})
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    client = in_process(ScriptedEngine(model="tiny"))
    told = client.post("/v1/chat/completions", json={**body, "stream_options": {"include_usage": True}})
    frames = told.text.split("\n\n")
    assert len(frames) > 10
    assert all(validator.is_valid(json.loads(frame.removeprefix("data: "))) for frame in frames[:-2])


def test_writing_it_changes_nothing() -> None:
    assert document(APP.routes) == document(APP.routes) == DOCUMENT


def test_nothing_is_loaded_from_elsewhere(in_process: Callable[..., TestClient]) -> None:
    client = in_process()
    assert {client.get(path).status_code for path in ("/docs", "/redoc", "/docs/oauth2-redirect")} == {404}
