"""Metrics: what is counted, and that labels are closed sets."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from safer_protocol.constrain.cache import Held
from safer_protocol.toolkit import default_toolkit
from safer_protocol.violation import Code
from safer_server.engines.base import ConstraintMode
from safer_server.engines.scripted import ScriptedEngine, Take, table
from safer_server.record import Failure, Outcome
from waiting import wait_for

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(client: TestClient) -> Samples:
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """Sum the series of a name that have these labels."""
    wanted = set(labels.items())
    return sum(number for (found, pairs), number in samples.items() if found == name and wanted <= set(pairs))


@pytest.fixture
def client(in_process: Callable[..., TestClient], written: Callable[[str], str]) -> TestClient:
    broken = Take(written("steal").replace("verdict=refuse", "verdict=allow"))
    return in_process(ScriptedEngine(table({"broken": broken, "fault": Take(written("hello"), raise_at=4)})))


def test_what_is_counted(client: TestClient, chat_body: Callable[..., dict[str, Any]]) -> None:
    for message in ("hello", "steal", "steal", "broken", "fault", "medicine"):
        for stream in (False, True):
            client.post("/v1/chat/completions", json=chat_body(message, stream=stream))
    client.post("/v1/chat/completions", json=chat_body("hello", n=2))
    samples = scrape(client)
    outcomes = {outcome: value(samples, "safer_requests_total", outcome=outcome) for outcome in Outcome}
    assert outcomes == {
        "answered": 2,
        "refused": 4,
        "safe_completed": 2,
        "clarified": 0,
        "failed_closed": 4,
        "would_refuse": 0,
    }
    assert value(samples, "safer_decisions_total", decision="refuse", category="nonviolent_crimes") == 4
    assert value(samples, "safer_decisions_by_severity_total", decision="refuse", severity="high") == 4
    assert value(samples, "safer_decisions_by_severity_total", severity="none") == 2
    assert value(samples, "safer_decisions_by_tool_total", tool="SAFETY-GATE") == 8
    assert value(samples, "safer_decisions_by_tool_total", tool="RISK-SCORER", decision="safe_complete") == 2
    assert value(samples, "safer_failed_closed_total", reason="invalid_trace") == 2
    assert value(samples, "safer_failed_closed_total", reason="engine_fault") == 2
    assert value(samples, "safer_trace_violations_total", code="decision_against_risk") == 2
    assert value(samples, "safer_request_seconds_count", outcome="answered") == 2
    assert value(samples, "safer_time_to_decision_seconds_count") == 8
    assert value(samples, "safer_trace_steps_count") == 8
    assert value(samples, "safer_tool_calls_total", tool="SAFETY-GATE") == 8
    assert all(value(samples, "safer_tokens_total", kind=kind) > 0 for kind in ("prompt", "plan", "trace", "answer"))
    assert all(value(samples, "safer_stage_seconds_count", stage=stage) > 0 for stage in ("queue", "plan", "answer"))
    assert value(samples, "safer_in_flight") == value(samples, "safer_queue_depth") == 0
    assert value(samples, "safer_engine_up") == 1
    assert value(samples, "safer_build_info", protocol_hash=default_toolkit().hash, engine="scripted") == 1


def test_the_engine_s_health_is_shown(client: TestClient, in_process: Callable[..., TestClient]) -> None:
    engine = ScriptedEngine()
    engine.up = False
    assert value(scrape(in_process(engine)), "safer_engine_up") == 0


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("safer_requests_total", {"endpoint": "litellm", "outcome": "would_refuse", "policy": "default"}),
        ("safer_decisions_total", {"decision": "refuse", "category": "hate", "modality": "image", "policy": "default"}),
        ("safer_decisions_by_severity_total", {"decision": "refuse", "severity": "low", "policy": "default"}),
        ("safer_decisions_by_tool_total", {"decision": "clarify", "tool": "OCR-EXTRACT"}),
        ("safer_tool_calls_total", {"tool": "OCR-EXTRACT"}),
        ("safer_failed_closed_total", {"reason": "internal"}),
        ("safer_trace_violations_total", {"code": "edge"}),
        ("safer_tokens_total", {"kind": "trace"}),
        ("safer_turned_away_total", {}),
    ],
)
def test_a_rate_sees_the_first_of_a_kind_because_its_series_begins_at_zero(
    client: TestClient, name: str, labels: dict[str, str]
) -> None:
    wanted = set(labels.items())
    found = [number for (known, pairs), number in scrape(client).items() if known == name and wanted <= set(pairs)]
    assert found == [0]


def test_a_tool_is_counted_once_for_a_decision_however_often_it_was_called(
    in_process: Callable[..., TestClient], chat_body: Callable[..., dict[str, Any]]
) -> None:
    client = in_process()
    for _ in range(3):
        client.post("/v1/chat/completions", json=chat_body("steal", safer={"depth": "full"}))
    samples = scrape(client)
    for tool in default_toolkit().by_name:
        assert value(samples, "safer_decisions_by_tool_total", tool=tool) in (0, 3)


@pytest.mark.parametrize("name", ["safer_request_seconds", "safer_time_to_decision_seconds", "safer_stage_seconds"])
def test_buckets_reach_from_a_millisecond_to_minutes(
    client: TestClient, chat_body: Callable[..., dict[str, Any]], name: str
) -> None:
    client.post("/v1/chat/completions", json=chat_body())
    bounds = {float(dict(pairs)["le"]) for found, pairs in scrape(client) if found == f"{name}_bucket"}
    assert min(bounds) == 0.001
    assert {1, 60, 120} < bounds


def test_whether_the_canary_has_passed_is_shown(in_process: Callable[..., TestClient]) -> None:
    passing, failing = in_process(), in_process(ScriptedEngine(lambda _: "free text\n"))
    wait_for(lambda: passing.get("/readyz").status_code == 200)
    assert value(scrape(passing), "safer_canary_passed") == 1
    assert value(scrape(failing), "safer_canary_passed") == 0


def test_what_the_mask_machine_took_is_shown_and_logged(
    in_process: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("safer_server.app.logger", logging.getLogger("started"))
    caplog.set_level(logging.INFO, "started")
    engine: Any = ScriptedEngine()
    held = Held(5, 40, 30, nbytes=3 * 2**20, seconds=2.25, loaded=(0.5, 0.25), compiled=(1.0, 2.0, 0.5))
    engine.blocks = SimpleNamespace(held=held)
    samples = scrape(in_process(engine))
    assert value(samples, "safer_grammar_compile_seconds_count", cache="hit") == 2
    assert value(samples, "safer_grammar_compile_seconds_sum", cache="miss") == 3.5
    assert value(samples, "safer_constraint_bytes") == 3 * 2**20
    assert caplog.messages == [
        "mask machine: 5 blocks, 40 states, 30 rows, 3 MB, 2 loaded and 3 compiled in 2.2 s",
    ]


def test_an_engine_without_a_mask_machine_shows_none(client: TestClient) -> None:
    samples = scrape(client)
    assert value(samples, "safer_grammar_compile_seconds_count") == value(samples, "safer_constraint_bytes") == 0


def test_a_caller_s_text_never_becomes_a_label(client: TestClient, chat_body: Callable[..., dict[str, Any]]) -> None:
    wanted = chat_body(
        "steal zanzibar", user="zanzibar", metadata={"zanzibar": "zanzibar"}, safety_identifier="zanzibar"
    )
    assert client.post("/v1/chat/completions", json=wanted).status_code == 200
    for fields in ({"model": "zanzibar"}, {"zanzibar": 1}, {"safer": {"policy": "zanzibar"}}):
        assert client.post("/v1/chat/completions", json=chat_body(**fields)).status_code in (400, 404)
    client.get("/zanzibar")
    assert "zanzibar" not in client.get("/metrics").text


def test_labels_are_closed_sets(client: TestClient, chat_body: Callable[..., dict[str, Any]]) -> None:
    for message in ("hello", "steal", "broken", "fault"):
        client.post("/v1/chat/completions", json=chat_body(message))
    toolkit = default_toolkit()
    closed: dict[str, set[str]] = {
        "endpoint": {"chat", "checks", "moderations", "litellm"},
        "outcome": set(Outcome),
        "policy": {"default"},
        "decision": {"allow", "safe_complete", "refuse", "clarify"},
        "category": set(toolkit.category_by_name),
        "severity": {"none", "low", "medium", "high", "critical"},
        "modality": {"text", "image", "text_image"},
        "stage": {"queue", "plan", "trace", "answer"},
        "tool": set(toolkit.by_name),
        "code": set(Code),
        "reason": set(Failure),
        "kind": {"prompt", "plan", "trace", "answer"},
        "replica": {"0"},
        "cache": {"hit", "miss"},
        "constraint": set(ConstraintMode),
    }
    for name, labels in scrape(client):
        for key, word in labels:
            if key != "le" and name != "safer_build_info":
                assert word in closed.get(key, {"scripted"}), (name, key)


def test_two_apps_do_not_share_their_counts(
    client: TestClient, in_process: Callable[..., TestClient], chat_body: Callable[..., dict[str, Any]]
) -> None:
    client.post("/v1/chat/completions", json=chat_body())
    assert value(scrape(in_process()), "safer_requests_total") == 0


def test_metrics_can_be_turned_off(in_process: Callable[..., TestClient]) -> None:
    assert in_process(metrics=False).get("/metrics").status_code == 404
