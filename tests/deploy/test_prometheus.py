"""Rules, alerts and dashboards in a real Prometheus, which scrapes a real server with two workers under load."""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy_files import ROOT
from guard_server import shown
from monitoring import (
    PROMETHEUS,
    Query,
    alert_queries,
    dashboards,
    panel_queries,
    panels,
    record_queries,
    rules,
    variable_queries,
)
from ports import free_port
from prometheus_server import Prometheus, prometheus, promtool
from safer_server.record import Outcome
from safer_server.settings import Settings
from vllm_metrics import VllmMetrics, vllm_metrics
from waiting import PATIENCE, wait_for

QUERIES = [*panel_queries("10s"), *variable_queries(), *alert_queries(), *record_queries()]


def chat(content: Any, policy: str = "default", **fields: Any) -> tuple[str, dict[str, Any]]:
    """A request for a chat completion."""
    messages = [{"role": "user", "content": content}]
    body = {"model": "scripted", "messages": messages, "safer": {"policy": policy}, **fields}
    return "/v1/chat/completions", body


LOAD: list[tuple[Outcome, tuple[str, dict[str, Any]]]] = [
    (Outcome.ANSWERED, chat("hello")),
    (Outcome.ANSWERED, chat(shown("hello"))),
    (Outcome.ANSWERED, chat("hello", stream=True)),
    (Outcome.ANSWERED, chat(shown("hello")[:1])),
    (Outcome.REFUSED, chat("steal")),
    (Outcome.REFUSED, chat([*shown("hello")[:1], {"type": "text", "text": "a weapon"}])),
    (Outcome.REFUSED, chat("medicine", policy="strict")),
    (Outcome.WOULD_REFUSE, chat("hack", policy="watching")),
    (Outcome.SAFE_COMPLETED, chat("medicine")),
    (Outcome.CLARIFIED, chat("unclear")),
    (Outcome.FAILED_CLOSED, chat("hello", max_completion_tokens=1)),
    (Outcome.ANSWERED, ("/v1/checks", {"messages": [{"role": "user", "content": "hello"}]})),
    (Outcome.REFUSED, ("/v1/checks", {"messages": [{"role": "user", "content": "hack"}]})),
    (Outcome.REFUSED, ("/v1/moderations", {"input": "steal"})),
    (Outcome.REFUSED, ("/beta/litellm_basic_guardrail_api", {"input_type": "request", "texts": ["steal"]})),
    (Outcome.ANSWERED, ("/beta/litellm_basic_guardrail_api", {"input_type": "response", "texts": ["hello"]})),
]
"""One round of requests, each with how it ends."""


@dataclass
class Watched:
    """A server under load, and a Prometheus that watches it."""

    prometheus: Prometheus
    web: httpx.Client
    vllm: VllmMetrics
    sent: Counter[str] = field(default_factory=Counter)

    def work(self) -> None:
        """Send one round, each request over a connection of its own, so that both workers get some."""
        for outcome, (path, body) in LOAD:
            response = self.web.post(path, json=body)
            assert response.status_code == 200, (path, response.text)
            self.sent[outcome] += 1
        self.vllm.work()

    def without_data(self, queries: list[Query]) -> list[Query]:
        """Those of the queries that have no number to show."""
        return [query for query in queries if not self.prometheus.query(query.expression)]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Start a server with two workers and three policies, and a Prometheus; send requests until all is shown."""
    promtool()
    folder = tmp_path_factory.mktemp("watched")
    (folder / "watching.yaml").write_text("name: watching\nenforcement: shadow\n")
    ports = [free_port(), free_port()]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SAFER_")}
    variables |= {"SAFER_PORT": str(ports[0]), "SAFER_INTERNAL_PORT": str(ports[1])}
    policies = ["--policy", str(ROOT / "deploy" / "policies" / "strict.yaml"), "--policy", "watching.yaml"]
    command = [
        str(Path(sys.executable).with_name("safer")),
        "serve",
        "--engine",
        "scripted",
        "--workers",
        "2",
        *policies,
    ]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=variables, cwd=folder, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{ports[0]}"
    alone = {"connection": "close"}
    try:
        with (
            httpx.Client(base_url=url, headers=alone, trust_env=False, timeout=PATIENCE) as web,
            vllm_metrics() as vllm,
        ):
            started = (folder / "server.log").read_text
            wait_for(lambda: started().count("Application startup complete") == 2 or process.poll(), PATIENCE)
            assert process.poll() is None, started()
            with prometheus(folder, {"safer": f"127.0.0.1:{ports[1]}", "vllm": vllm.address}) as server:
                found = Watched(server, web, vllm)
                pending = list(QUERIES)
                deadline = time.monotonic() + PATIENCE
                while pending and time.monotonic() < deadline:
                    found.work()
                    pending = found.without_data(pending)
                yield found
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.mark.parametrize("query", QUERIES, ids=[query.asks for query in QUERIES])
def test_there_is_data_for(query: Query, watched: Watched) -> None:
    assert query.metrics - {"ALERTS"} <= watched.prometheus.metrics()
    if watched.without_data([query]):  # a while without requests is a gap in some panels
        watched.work()
        wait_for(lambda: not watched.without_data([query]), PATIENCE)


def test_both_jobs_are_scraped_and_every_rule_is_evaluated(watched: Watched) -> None:
    wait_for(lambda: watched.prometheus.targets() == {"safer": "up", "vllm": "up"}, PATIENCE)
    wait_for(lambda: not watched.prometheus.rule_faults(), PATIENCE)


def test_prometheus_counts_what_was_sent(watched: Watched) -> None:
    counted = "sum(safer_requests_total)"
    wait_for(lambda: watched.prometheus.query(counted) == [watched.sent.total()], PATIENCE)
    for outcome in Outcome:
        assert watched.prometheus.query(f'sum(safer_requests_total{{outcome="{outcome}"}})') == [watched.sent[outcome]]


def test_the_rates_are_those_of_the_load(watched: Watched) -> None:
    share = {outcome: watched.sent[outcome] / watched.sent.total() for outcome in Outcome}
    for record, expected in (
        ("safer:refusal:ratio_rate5m", share[Outcome.REFUSED] + share[Outcome.WOULD_REFUSE]),
        ("safer:failed_closed:ratio_rate5m", share[Outcome.FAILED_CLOSED]),
        ("safer:over_refusal:ratio_rate5m", 0),
    ):
        close = pytest.approx(expected, abs=0.05)
        wait_for(lambda record=record, close=close: watched.prometheus.query(record) == [close], PATIENCE)  # type: ignore[misc]


def test_no_alert_has_fired_but_for_the_faults_that_were_sent(watched: Watched) -> None:
    """A scrape that comes late on a busy machine is a target that is down for a moment, which is no alert yet."""
    alerts = watched.prometheus.get("alerts")["alerts"]
    firing = {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
    pending = {alert["labels"]["alertname"] for alert in alerts} - firing
    assert firing <= {"SaferFailedClosed"}
    assert pending <= {"SaferFailedClosed", "SaferDown", "VllmDown"}


def test_the_rules_are_well_formed_and_pass_their_own_tests() -> None:
    tool = promtool()
    for arguments in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run([tool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", [rule["alert"] for rule in rules("alert")])
def test_an_alert_is_seen_to_fire_in_them_and_has_its_section(alert: str) -> None:
    cases = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    fires = [
        sample["labels"]
        for case in cases
        for test in case.get("promql_expr_test", ())
        for sample in test.get("exp_samples", ())
    ]
    named = [test["alertname"] for case in cases for test in case.get("alert_rule_test", ()) if test.get("exp_alerts")]
    assert any(f'alertname="{alert}"' in labels for labels in fires) or alert in named
    (rule,) = [rule for rule in rules("alert") if rule["alert"] == alert]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor == alert.lower()
    assert f"### {alert}\n" in (ROOT / page).read_text()


@pytest.mark.parametrize("record", [rule["record"] for rule in rules("record")])
def test_a_recorded_ratio_is_used_more_than_once(record: str) -> None:
    shown_by = sum(
        record in target["expr"]
        for board in dashboards().values()
        for panel in panels(board)
        for target in panel["targets"]
    )
    assert shown_by + sum(record in rule["expr"] for rule in rules("alert")) > 1


def test_settings_that_panels_and_alerts_speak_of_exist() -> None:
    texts = [panel["description"] for board in dashboards().values() for panel in panels(board)]
    texts += [rule["annotations"]["description"] for rule in rules("alert")]
    named = {name for text in texts for name in re.findall(r"SAFER_[A-Z_]+", text)}
    assert named <= {f"SAFER_{name.upper()}" for name in Settings.model_fields}
