"""Traces: which spans a request has for each way in which it can end, and that they tell nothing of what was said."""

import asyncio
import http.client
import json
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, aclosing
from itertools import pairwise
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from starlette.testclient import TestClient
from typer.testing import CliRunner

import scripted_vllm
from api_keys import bearer, entry, key_of, keys
from safer_protocol.policy import default_policy
from safer_protocol.toolkit import default_toolkit
from safer_server.cli import app as cli
from safer_server.engines.base import ContextLengthError, EngineRequest, EngineUnavailableError, Piece
from safer_server.engines.scripted import ScriptedEngine, Take, table
from safer_server.engines.table import open_engine
from safer_server.intake import Intake
from safer_server.policies import load_policies
from safer_server.settings import Settings
from scripted_upstream import MODEL, PROMPT_TOKENS, TOKENS, ScriptedUpstream, hurry_the_relay, serving
from scripted_vllm import ScriptedVllm
from spans import Collected, id_of
from waiting import PATIENCE, wait_for

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CANARY = "canary-7f3a"
PATH = "/v1/chat/completions"
ANSWER = "This is a scripted answer: no model was asked."
TOOLS = [f"execute_tool {name}" for name in ("KEYWORD-FLAGGING", "INTENT-RADAR", "RISK-SCORER", "SAFETY-GATE")]
JUDGED = ("chat scripted", "plan", *TOOLS, "decision")


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Collected:
    """Keep spans here instead of sending them."""
    exporter = Collected()
    monkeypatch.setattr("safer_server.tracing.provider.OTLPSpanExporter", lambda: exporter)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    return exporter


both = pytest.mark.parametrize("stream", [False, True])


def status(span: ReadableSpan) -> tuple[StatusCode, str | None, Any]:
    return span.status.status_code, span.status.description, dict(span.attributes or {}).get("error.type")


OK = (StatusCode.UNSET, None, None)


def failed(reason: str) -> tuple[StatusCode, str, str]:
    return StatusCode.ERROR, reason, reason


@both
@pytest.mark.parametrize(
    ("message", "decision", "category", "severity", "outcome"),
    [
        ("hello", "allow", "none", "none", "answered"),
        ("steal", "refuse", "nonviolent_crimes", "high", "refused"),
        ("medicine", "safe_complete", "specialized_advice", "medium", "safe_completed"),
        ("unclear", "clarify", "none", "low", "clarified"),
    ],
)
def test_a_span_for_every_stage_of_a_judgement(
    live: Callable[..., Any],
    collected: Collected,
    chat_body: Callable[..., dict[str, Any]],
    stream: bool,
    message: str,
    decision: str,
    category: str,
    severity: str,
    outcome: str,
) -> None:
    server = live(tracing=True, keys=keys(entry("alice")))
    headers = {**bearer("alice"), "traceparent": PARENT, "x-request-id": "mine"}
    body = chat_body(message, stream=stream)
    url = f"{server.url}{PATH}?q=x"
    assert httpx.post(url, json=body, headers=headers, trust_env=False, timeout=PATIENCE).status_code == 200
    trace = collected.trace()
    root, judge = trace.root, trace.named("judge request")
    assert trace.tree() == (f"POST {PATH}", "queue", ("judge request", *JUDGED, "answer"))
    assert root.context is not None
    assert root.parent is not None
    assert f"00-{root.context.trace_id:032x}-{root.parent.span_id:016x}-01" == PARENT
    assert dict(root.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": PATH,
        "http.response.status_code": 200,
        "safer.request_id": "mine",
        "safer.caller": "alice",
        "safer.outcome": outcome,
    }
    told = dict(judge.attributes or {})
    assert str(told.pop("safer.trace_id")).startswith("tr_")
    assert told == {
        "safer.subject": "request",
        "safer.policy": "default",
        "safer.modality": "text",
        "safer.outcome": outcome,
    }
    assert dict(trace.named("decision").attributes or {}) == {
        "safer.decision": decision,
        "safer.category": category,
        "safer.severity": severity,
        "safer.outcome": outcome,
    }
    assert dict(trace.named(TOOLS[3]).attributes or {}) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "SAFETY-GATE",
        "safer.stage": "decision",
        "safer.step": 4,
    }
    plan = dict(trace.named("plan").attributes or {})
    assert (plan["gen_ai.operation.name"], plan["safer.plan.category"]) == ("plan", category)
    engine = trace.named("chat scripted")
    asked = dict(engine.attributes or {})
    assert engine.kind is SpanKind.INTERNAL
    assert asked["gen_ai.provider.name"] == asked["gen_ai.request.model"] == "scripted"
    assert (asked["safer.replica"], asked["safer.constraint"]) == ("0", "none")
    output, reasoning = asked["gen_ai.usage.output_tokens"], asked["gen_ai.usage.reasoning.output_tokens"]
    assert isinstance(output, int)
    assert isinstance(reasoning, int)
    assert 0 < reasoning < output
    for span in trace.spans:
        assert status(span) == OK
    stages = trace.children(judge)[1:]
    assert all(before.end_time == after.start_time for before, after in pairwise(stages))
    assert (judge.start_time, judge.end_time) == (stages[0].start_time, stages[-1].end_time)


def at(text: str, mark: str) -> int:
    """The piece in which a mark begins."""
    return text.index(mark) // 4


BROKEN: dict[str, tuple[str, Callable[[str], Take], tuple[str, ...]]] = {
    "no plan": ("invalid_trace", lambda _: Take("free text\n"), ()),
    "plan": ("engine_fault", lambda text: Take(text, raise_at=at(text, "[RISK")), ()),
    "trace": ("engine_fault", lambda text: Take(text, raise_at=at(text, "[INTENT-RADAR]:")), ("plan", TOOLS[0])),
    "answer": ("engine_fault", lambda text: Take(text, raise_at=at(text, "model was")), (*JUDGED[1:], "answer")),
    "cut off": ("unfinished", lambda text: Take(text, stop_at=at(text, "[INTENT-RADAR]:")), ("plan", TOOLS[0])),
    "trailing": ("unfinished", lambda text: Take(text + "more"), (*JUDGED[1:], "answer")),
    "crash": ("internal", lambda text: Take(text, raise_at=5, error=ZeroDivisionError), ()),
}


@both
@pytest.mark.parametrize("kind", BROKEN)
def test_what_fails_closed_is_an_error_with_its_reason(
    in_process: Callable[..., TestClient],
    collected: Collected,
    written: Callable[[str], str],
    chat_body: Callable[..., dict[str, Any]],
    kind: str,
    stream: bool,
) -> None:
    reason, take, stages = BROKEN[kind]
    client = in_process(ScriptedEngine(lambda _: take(written("hello"))), tracing=True)
    assert client.post(PATH, json=chat_body(stream=stream)).status_code == 200
    trace = collected.trace()
    judge = trace.named("judge request")
    assert trace.tree(judge) == ("judge request", "chat scripted", *stages)
    assert status(trace.root) == status(judge) == failed(reason)
    assert status(trace.named("chat scripted")) == (failed(reason) if reason == "engine_fault" else OK)
    for span in (trace.root, judge, *(each for each in trace.spans if each.name == "decision")):
        assert dict(span.attributes or {})["safer.outcome"] == "failed_closed"


@pytest.mark.parametrize(
    ("error", "code", "reason", "root"),
    [
        (EngineUnavailableError, 503, "engine_unavailable", failed("engine_unavailable")),
        (ContextLengthError, 400, "context_length_exceeded", OK),
    ],
)
def test_a_case_that_cannot_begin(
    in_process: Callable[..., TestClient],
    collected: Collected,
    chat_body: Callable[..., dict[str, Any]],
    error: type[Exception],
    code: int,
    reason: str,
    root: object,
) -> None:
    class Failing(ScriptedEngine):
        async def stream(self, request: EngineRequest) -> AsyncGenerator[Piece, None]:
            raise error("scripted fault")
            yield Piece("")

    assert in_process(Failing(), tracing=True).post(PATH, json=chat_body()).status_code == code
    trace = collected.trace()
    assert status(trace.root) == root
    assert status(trace.named("judge request")) == status(trace.named("chat scripted")) == failed(reason)


def test_a_conversation_that_is_judged_without_its_oldest_turns_has_waited_once(
    in_process: Callable[..., TestClient], collected: Collected
) -> None:
    class Short(ScriptedEngine):
        async def stream(self, request: EngineRequest) -> AsyncGenerator[Piece, None]:
            if len(request.turns) > 2:
                raise ContextLengthError("longer than the context")
            async for piece in super().stream(request):
                yield piece

    lenient = default_policy(default_toolkit()).model_copy(update={"name": "lenient", "unjudged": "allow"})
    said = [{"role": role, "content": "hello"} for role in ("user", "assistant", "user")]
    body = {"model": "scripted", "messages": said, "safer": {"policy": "lenient"}}
    response = in_process(Short(), (lenient,), tracing=True).post(PATH, json=body)
    assert response.json()["safer"]["outcome"] == "answered"
    trace = collected.trace()
    refused = ("judge request", "chat scripted")
    assert trace.tree() == (f"POST {PATH}", "queue", refused, ("judge request", *JUDGED, "answer"))
    assert status(trace.root) == OK


def test_verdicts_are_traced_without_an_answer(in_process: Callable[..., TestClient], collected: Collected) -> None:
    client = in_process(tracing=True)
    asked = {"messages": [{"role": "user", "content": "steal"}, {"role": "assistant", "content": "how to hack"}]}
    assert client.post("/v1/checks", json=asked).status_code == 200
    assert client.post("/v1/moderations", json={"input": ["hello", "steal"]}).status_code == 200
    check, moderation = collected.traces(2)
    assert check.tree() == ("POST /v1/checks", "queue", ("judge reply", *JUDGED))
    judged = ("judge request", *JUDGED)
    assert sorted(map(str, moderation.tree()[1:])) == sorted(map(str, ("queue", judged, "queue", judged)))


@pytest.mark.parametrize(
    ("method", "path", "options", "name", "code"),
    [
        ("GET", "/v1/models", {}, "GET /v1/models", 200),
        ("GET", f"/v1/models/{CANARY}", {}, "GET /v1/models/{name:path}", 404),
        ("GET", f"/{CANARY}", {}, "GET", 404),
        ("POST", "/v1/models", {}, "POST /v1/models", 405),
        ("POST", PATH, {"json": {CANARY: 1}}, f"POST {PATH}", 400),
        ("POST", PATH, {"headers": {"authorization": CANARY}}, f"POST {PATH}", 401),
        (CANARY, "/v1/models", {}, "_OTHER /v1/models", 405),
    ],
)
def test_what_is_not_judged_has_one_span(
    in_process: Callable[..., TestClient],
    collected: Collected,
    method: str,
    path: str,
    options: dict[str, Any],
    name: str,
    code: int,
) -> None:
    client = in_process(tracing=True, keys=keys(entry("alice")))
    for probe in ("/healthz", "/readyz", "/metrics"):
        client.get(probe)
    client.request(method, path, **{"headers": bearer("alice"), **options})
    trace = collected.trace()
    assert trace.tree() == name
    assert (trace.root.attributes or {})["http.response.status_code"] == code
    assert status(trace.root) == OK
    assert CANARY not in trace.root.to_json()


def test_a_crash_is_an_error_named_by_its_type(
    in_process: Callable[..., TestClient],
    collected: Collected,
    chat_body: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(*_: object) -> None:
        raise ValueError(CANARY)

    monkeypatch.setattr(Intake, "chat", crash)
    assert in_process(tracing=True).post(PATH, json=chat_body()).status_code == 500
    root = collected.trace().root
    assert status(root) == failed("ValueError")
    assert root.events == ()
    assert CANARY not in root.to_json()


@pytest.mark.parametrize(
    "given", ["", "nonsense", PARENT.replace("00-", "ff-", 1), f"{PARENT}-{CANARY}", "00-" + "0" * 52]
)
def test_a_parent_that_is_none_begins_a_trace_of_its_own(
    in_process: Callable[..., TestClient], collected: Collected, given: str
) -> None:
    in_process(tracing=True).get("/v1/models", headers={"traceparent": given, "tracestate": f"a={CANARY}"})
    root = collected.trace().root
    assert root.parent is None
    assert CANARY not in root.to_json()


def test_what_the_caller_does_not_sample_is_not_traced(
    in_process: Callable[..., TestClient], collected: Collected, chat_body: Callable[..., dict[str, Any]]
) -> None:
    client = in_process(tracing=True)
    client.post(PATH, json=chat_body(), headers={"traceparent": f"{PARENT[:-2]}00"})
    client.get("/v1/models")
    collected.trace()
    assert len(collected.get_finished_spans()) == 1


def test_requests_on_one_connection_do_not_share_a_trace(
    live: Callable[..., Any], collected: Collected, chat_body: Callable[..., dict[str, Any]]
) -> None:
    with httpx.Client(base_url=live(tracing=True).url, trust_env=False, timeout=PATIENCE) as client:
        for _ in range(3):  # bodies that stop and resume the reading
            client.post(PATH, json=chat_body("x" * 1_000_000))
    traces = collected.traces(3)
    assert len({trace.root.context.trace_id for trace in traces if trace.root.context}) == 3
    assert all(trace.root.parent is None for trace in traces)


class _Waiting(ScriptedEngine):
    """Stops in the middle of the trace until its client has gone."""

    def __init__(self, text: str) -> None:
        self._stop = at(text, "[INTENT-RADAR]:")
        super().__init__(table({"hello": Take(text, wait_at=self._stop, event=asyncio.Event())}))
        self.waits = threading.Event()

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Piece, None]:
        async with aclosing(super().stream(request)) as pieces:
            written = 0
            async for piece in pieces:
                yield piece
                written += piece.tokens
                if written == self._stop and request.turns[-1].text == "hello":
                    self.waits.set()


@both
def test_a_client_that_goes_away_is_no_error(
    live: Callable[..., Any],
    collected: Collected,
    written: Callable[[str], str],
    chat_body: Callable[..., dict[str, Any]],
    stream: bool,
) -> None:
    engine = _Waiting(written("hello"))
    server = live(engine, tracing=True)
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=PATIENCE)
    body = json.dumps(chat_body(stream=stream))
    connection.request("POST", PATH, body, {"Content-Type": "application/json"})
    assert engine.waits.wait(PATIENCE)
    assert connection.sock is not None
    connection.sock.close()
    connection.close()
    trace = collected.trace()
    assert trace.tree() == (f"POST {PATH}", "queue", ("judge request", "chat scripted", "plan", TOOLS[0]))
    for name in ("judge request", "chat scripted"):
        span = trace.named(name)
        assert (status(span), (span.attributes or {})["safer.cancelled"]) == (OK, True)
    assert status(trace.root) == OK
    assert (trace.root.attributes or {})["http.response.status_code"] == (200 if stream else 499)


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with serving(ScriptedUpstream()) as running:
        yield running


@both
def test_the_model_behind_has_a_span_whose_context_it_gets(
    in_process: Callable[..., TestClient],
    collected: Collected,
    chat_body: Callable[..., dict[str, Any]],
    upstream: ScriptedUpstream,
    stream: bool,
) -> None:
    client = in_process(tracing=True, **upstream.settings)
    sent = {"traceparent": PARENT, "tracestate": "vendor=1"}
    assert client.post(PATH, json={**chat_body(stream=stream), "model": MODEL}, headers=sent).status_code == 200
    trace = collected.trace()
    judged, again = ("judge request", *JUDGED), ("judge reply", *JUDGED)
    assert trace.tree() == (f"POST {PATH}", "queue", judged, f"chat {MODEL}", again)
    asked = trace.named(f"chat {MODEL}")
    told = dict(asked.attributes or {})
    assert float(str(told.pop("gen_ai.response.time_to_first_chunk"))) > 0
    assert (asked.kind, status(asked)) == (SpanKind.CLIENT, OK)
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": PROMPT_TOKENS,
        "gen_ai.usage.output_tokens": TOKENS,
    }
    (headers,) = upstream.headers
    assert headers["traceparent"] == f"{PARENT[:36]}{id_of(asked):016x}-01"
    assert headers["tracestate"] == "vendor=1"


UPSTREAM_FAULTS: dict[str, tuple[dict[str, Any], str, Any]] = {
    "fault": ({"status": 500}, "upstream_fault", failed("upstream_fault")),
    "rejected": ({"status": 400}, "upstream_rejected", failed("upstream_rejected")),
    "cut": ({"cut": True}, "upstream_fault", failed("upstream_fault")),
    "hang": ({"hang": True}, "timeout", OK),
    "too long": ({"say": ("x" * 300_000,)}, "too_long", OK),
}


@both
@pytest.mark.parametrize("fault", UPSTREAM_FAULTS)
def test_faults_of_the_model_behind_are_errors(
    in_process: Callable[..., TestClient],
    collected: Collected,
    chat_body: Callable[..., dict[str, Any]],
    upstream: ScriptedUpstream,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    stream: bool,
) -> None:
    behaviour, reason, of_the_call = UPSTREAM_FAULTS[fault]
    if "hang" in behaviour:
        hurry_the_relay(monkeypatch)
    for name, value in behaviour.items():
        setattr(upstream, name, value)
    client = in_process(tracing=True, **upstream.settings)
    client.post(PATH, json={**chat_body(stream=stream), "model": MODEL})
    trace = collected.trace()
    assert status(trace.root) == failed(reason)
    assert status(trace.named("judge request")) == OK
    asked = trace.named(f"chat {MODEL}")
    assert status(asked) == of_the_call
    assert ("safer.cancelled" in (asked.attributes or {})) is (of_the_call == OK)


def test_a_reply_that_is_withheld_shows_in_the_trace(
    in_process: Callable[..., TestClient],
    collected: Collected,
    chat_body: Callable[..., dict[str, Any]],
    upstream: ScriptedUpstream,
) -> None:
    upstream.say = ("how to steal",)
    in_process(tracing=True, **upstream.settings).post(PATH, json={**chat_body(), "model": MODEL})
    trace = collected.trace()
    assert (trace.root.attributes or {})["safer.outcome"] == "refused"
    assert (trace.named("judge request").attributes or {})["safer.outcome"] == "answered"
    assert (trace.named("judge reply").attributes or {})["safer.outcome"] == "refused"


@pytest.mark.parametrize("tracing", [True, False])
@pytest.mark.parametrize("takes_tokens", [True, False])
def test_vllm_gets_the_context_of_the_span_of_its_request(
    live: Callable[..., Any],
    collected: Collected,
    chat_body: Callable[..., dict[str, Any]],
    written: Callable[[str], str],
    tracing: bool,
    takes_tokens: bool,
) -> None:
    vllm = ScriptedVllm(lambda _: scripted_vllm.written(written("hello")), takes_tokens=takes_tokens)
    with ExitStack() as running:
        running.enter_context(scripted_vllm.serving(vllm))
        settings = Settings(engine="vllm-http", vllm_urls=(vllm.url,), constraint="none")
        engine = open_engine(settings, load_policies((), default_toolkit()))
        server = live(engine, tracing=tracing)
        web = running.enter_context(httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE))
        wait_for(lambda: web.get("/readyz").status_code == 200)
        asked = len(vllm.headers)
        body = {**chat_body(), "model": "tiny"}
        reply = web.post(PATH, json=body, headers={"traceparent": PARENT})
        assert reply.json()["safer"]["outcome"] == "answered"
        sent = [headers.get("traceparent") for headers in vllm.headers]
        assert sent[:asked] == [None] * asked  # nobody's request
        if not tracing:
            assert sent[asked:] == [None]
            return
        span = collected.trace().named("chat tiny")
        assert (span.kind, (span.attributes or {})["gen_ai.provider.name"]) == (SpanKind.CLIENT, "vllm")
        assert sent[asked:] == [f"{PARENT[:36]}{id_of(span):016x}-01"]


@both
def test_nothing_that_was_said_is_in_any_span(
    live: Callable[..., Any],
    collected: Collected,
    chat_body: Callable[..., dict[str, Any]],
    written: Callable[[str], str],
    stream: bool,
) -> None:
    good, steps = written("hello").replace(ANSWER, CANARY), written("steal").replace('"scripted"', f'"{CANARY}"')

    class CanaryError(Exception):
        def __init__(self, *_: object) -> None:
            super().__init__(CANARY)

    replies: dict[str, Take | str] = {
        "good": good,
        "refused": steps,
        "broken": f"{CANARY}\n",
        "unknown": steps.replace("INTENT-RADAR", "CANARY-7F3A"),
        "crashing": Take(good, raise_at=60, error=CanaryError),
    }
    engine = ScriptedEngine(table({f"{kind} {CANARY}": reply for kind, reply in replies.items()}))
    server = live(engine, tracing=True, keys=keys(entry("alice")))
    with httpx.Client(base_url=server.url, headers=bearer("alice"), trust_env=False, timeout=PATIENCE) as client:
        for kind in replies:
            fields = {"user": CANARY, "metadata": {"a": CANARY}, "stream": stream}
            client.post(PATH, params={"q": CANARY}, json=chat_body(f"{kind} {CANARY}", **fields))
        client.post(PATH, json=chat_body(model=CANARY))
        client.get(f"/{CANARY}", headers={"user-agent": CANARY, "cookie": CANARY, "x-request-id": f"<{CANARY}>"})
    traces = collected.traces(len(replies) + 2)
    told = "".join(span.to_json() for trace in traces for span in trace.spans).lower()
    assert "execute_tool keyword-flagging" in told
    assert CANARY not in told
    assert key_of("alice") not in told


def test_log_lines_carry_the_ids_of_the_trace(
    in_process: Callable[..., TestClient],
    collected: Collected,
    chat_body: Callable[..., dict[str, Any]],
    server_log: pytest.LogCaptureFixture,
) -> None:
    broken = ScriptedEngine(lambda _: Take("x", raise_at=0, error=ZeroDivisionError))
    in_process(broken, tracing=True).post(PATH, json=chat_body(), headers={"traceparent": PARENT})
    ids = f"trace_id={PARENT[3:35]} span_id={id_of(collected.trace().root):016x}]"
    lines = server_log.text.splitlines()
    assert any("failed closed on an unexpected error" in line and line.endswith(ids) for line in lines)
    assert any("safer_server.access" in line and line.endswith(ids) for line in lines)


def test_the_server_runs_without_the_packages() -> None:
    program = """
import sys
sys.modules["opentelemetry"] = None
from safer_server.app import create_app
from safer_server.engines.scripted import ScriptedEngine
from safer_server.settings import Settings
from starlette.testclient import TestClient
with TestClient(create_app(Settings(), ScriptedEngine())) as client:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}]}
    assert client.post("/v1/chat/completions", json=body).status_code == 200
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_spans_unless_tracing_is_on(
    in_process: Callable[..., TestClient], collected: Collected, chat_body: Callable[..., dict[str, Any]]
) -> None:
    client = in_process()
    assert client.post(PATH, json=chat_body(), headers={"traceparent": PARENT}).status_code == 200
    assert collected.get_finished_spans() == ()


@pytest.mark.parametrize("workers", [1, 2])
def test_without_the_packages_the_server_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    for name in list(sys.modules):
        if name.startswith("safer_server.tracing."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    monkeypatch.setenv("SAFER_TRACING", "true")
    result = CliRunner().invoke(cli, ["serve", "--engine", "scripted", "--port", "0", "--workers", str(workers)])
    assert result.exit_code == 1
    assert "pip install 'safer-toolkit[otel]'" in result.stderr
    assert "Traceback" not in result.output
