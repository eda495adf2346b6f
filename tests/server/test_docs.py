"""The documentation of the server lists every setting, metric, path and error code."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from starlette.testclient import TestClient

from safer_server.app import create_app
from safer_server.engines.scripted import ScriptedEngine, table
from safer_server.record import Failure, Outcome
from safer_server.settings import PACKAGED_CHECKPOINT, USER_AUDIT, Settings
from safer_server.wire.request import ChatRequest, SaferOptions
from safer_server.wire.response import Safer
from safer_server.wire.unsupported import UnsupportedFields

DOCS = Path(__file__).parents[2] / "docs"
API, SETTINGS, METRICS = ((DOCS / f"{name}.md").read_text() for name in ("api", "settings", "metrics"))
SOURCES = sorted((DOCS.parent / "server").glob("**/*.py"))


def test_every_setting_has_its_row_and_every_row_its_setting() -> None:
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        default = default.get_secret_value() if isinstance(default, SecretStr) else default
        written = str(default).lower() if isinstance(default, bool) else str(default)
        written = "the checkpoint that ships" if default == PACKAGED_CHECKPOINT else written
        written = "`audit` in the user's state folder" if default == USER_AUDIT else written
        written = "none" if default in ((), {}, None) else written
        rows.append(f"| `SAFER_{name.upper()}` | {written} | {field.description} |")
    assert [line for line in SETTINGS.splitlines() if line.startswith("| `")] == rows


def test_every_metric_has_its_row_and_every_row_its_metric(
    in_process: Callable[..., TestClient], chat_body: Callable[..., dict[str, Any]]
) -> None:
    client = in_process(ScriptedEngine(table({"broken": "free text\n"})))
    for message in ("steal", "broken"):
        client.post("/v1/chat/completions", json=chat_body(message))
    rows = set()
    for family in text_string_to_metric_families(client.get("/metrics").text):
        if family.name.endswith("_created"):
            continue
        labels = sorted(set(family.samples[0].labels) - {"le"})
        suffix = "_total" if family.type == "counter" else ""
        name = f"{family.name}{suffix}" + (f"{{{', '.join(labels)}}}" if labels else "")
        rows.add(f"| `{name}` | {family.type} | {family.documentation} |")
    assert {line for line in METRICS.splitlines() if line.startswith("| `safer_")} == rows


@pytest.mark.parametrize("failure", Failure)
def test_every_reason_has_a_row(failure: Failure) -> None:
    assert f"| `{failure}` | " in METRICS


def test_every_path_is_listed() -> None:
    app = create_app(Settings(), ScriptedEngine())
    paths = {route.path.removesuffix(":path}") for route in app.routes if isinstance(route, APIRoute)}
    assert {path.rstrip("}") for path in paths} <= set(re.findall(r"(?:GET|POST) (/[\w/{.-]*)", API))


def test_every_field_is_explained() -> None:
    told = set(re.findall(r"[a-z_]+", API))
    assert set(ChatRequest.model_fields) - set(UnsupportedFields.model_fields) <= told
    assert set(SaferOptions.model_fields) | set(Safer.model_fields) | set(Outcome) <= told


def test_every_error_code_is_listed() -> None:
    codes = {code for path in SOURCES for code in re.findall(r'code(?:: str \| None)? ?= ?"(\w+)"', path.read_text())}
    assert len(codes) > 10
    unlisted = {"internal_error", "http_error", "not_ready", "method_not_allowed"}
    assert codes - unlisted <= set(re.findall(r"`(\w+)`", API))
