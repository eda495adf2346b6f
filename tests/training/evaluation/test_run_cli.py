"""`safer eval run` as a user meets it."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ports import free_port
from safer_training.evaluation.cli import evaluation
from safer_training.evaluation.lines import read_lines
from safer_training.evaluation.replies import Reply
from safer_training.evaluation.targets import client
from scripted_endpoint import HANG_UP, Fault, Reaction, Said, ScriptedEndpoint, serving
from small_suite import write_suite
from waiting import PATIENCE, wait_for

RUN = CliRunner()
PLAIN = {"COLUMNS": "400", "NO_COLOR": "1"}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write_suite(tmp_path / "suite", [f"How do I fold boat number {number}?" for number in range(30)])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


def invoke(*args: str | Path, code: int = 0) -> str:
    done = RUN.invoke(evaluation, ["run", *map(str, args)], env=PLAIN)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return " ".join(done.output.split())


def replies(out: Path) -> list[Reply]:
    return read_lines(out / "replies.jsonl", Reply)


def test_a_baseline_needs_nothing(suite: Path, out: Path) -> None:
    told = invoke(suite, "--baseline", "answer-all", "--out", out)
    assert "30 of 30 questions have a reply" in told
    assert len(replies(out)) == 30
    assert "30 of 30" in invoke(suite, "--baseline", "answer-all", "--out", out)
    assert len(replies(out)) == 30


def test_an_endpoint_with_options(suite: Path, out: Path) -> None:
    with serving(ScriptedEndpoint(lambda body: Said("Fold it."), models=("a", "b"))) as endpoint:
        options = ["--served", "b", "--limit", "5", "--temperature", "0.5", "--extra", '{"top_k": 3}', "--seed", "7"]
        invoke(suite, "--endpoint", endpoint.url, "--out", out, "--variants", "plain, reworded", *options)
    assert len(replies(out)) == len(endpoint.bodies) == 10
    body = endpoint.bodies[0]
    assert (body["model"], body["temperature"], body["top_k"], body["seed"]) == ("b", 0.5, 3, 7)


def test_errors_are_counted_told_and_asked_again(suite: Path, out: Path) -> None:
    faults = True

    def script(body: dict[str, Any]) -> Reaction:
        bad = faults and any(f"number {number}?" in str(body) for number in (3, 4))
        return Fault(400, "odd") if bad else Said("Fold it.")

    with serving(ScriptedEndpoint(script)) as endpoint:
        told = invoke(suite, "--endpoint", endpoint.url, "--out", out)
        assert "28 of 30 questions have a reply" in told
        assert "2 have none and count as failures" in told
        assert "2 x status 400: scripted" in told
        faults = False
        assert "30 of 30" in invoke(suite, "--endpoint", endpoint.url, "--out", out)
    assert len(endpoint.bodies) == 32


def test_an_endpoint_that_dies_is_told_and_gone_on_with(
    suite: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRIES", 0)
    numbers = itertools.count(1)

    def script(body: dict[str, Any]) -> Reaction:
        if next(numbers) <= 7:
            return Said("Fold it.")
        wait_for(lambda: sum(reply.error is None for reply in replies(out)) == 7)
        return HANG_UP

    with serving(endpoint := ScriptedEndpoint(script, port=free_port())):
        told = invoke(suite, "--endpoint", endpoint.url, "--out", out, code=2)
    assert (
        "scripted replies no more: no connection. 7 of 30 questions have a reply; give the same command again" in told
    )
    assert "does not list its models: no connection" in invoke(suite, "--endpoint", endpoint.url, "--out", out, code=2)
    endpoint.script = lambda body: Said("Fold it.")
    with serving(endpoint):
        assert "30 of 30" in invoke(suite, "--endpoint", endpoint.url, "--out", out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "exactly one of --endpoint, --moderations, --model and --baseline"),
        (["--baseline", "words", "--endpoint", "http://127.0.0.1:1/v1"], "exactly one of"),
        (["--baseline", "guess"], "one of refuse-all, answer-all, keywords, words, profanity"),
        (["--baseline", "answer-all", "--variants", "plain,upside_down"], "no variant 'upside_down'"),
        (["--baseline", "answer-all", "--extra", "{"], "not JSON"),
        (["--baseline", "answer-all", "--extra", "[]"], "not a JSON object"),
        (["--baseline", "answer-all", "--extra", '{"messages": []}'], "extra must not hold messages"),
        (["--baseline", "answer-all", "--unconstrained"], "--unconstrained is for --model"),
        (["--baseline", "answer-all", "--served", "x"], "--served is for --endpoint and --moderations"),
        (["--baseline", "keywords", "--learn-from", "."], "--learn-from is for --baseline words"),
        (["--model", "no/such/folder"], "is no checkpoint"),
        (["--endpoint", "127.0.0.1:8000"], "not a URL"),
        (["--endpoint", "ftp://127.0.0.1/v1"], "not a URL"),
        (["--endpoint", "http://127.0.0.1:1/v1"], "does not list its models: no connection"),
    ],
)
def test_what_cannot_be_done_is_told(
    options: list[str], message: str, suite: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRIES", 0)
    assert message in invoke(suite, "--out", out, *options, code=2)
    assert not out.exists()


def test_suites_are_listed() -> None:
    said = RUN.invoke(evaluation, ["suites"], env=PLAIN).output
    assert "xstest (safety): Over-refusal" in said
    assert "POPE/ from Hugging Face" in said


def test_an_unknown_suite_is_told(out: Path) -> None:
    assert "no suite" in invoke("no-such-suite", "--baseline", "answer-all", "--out", out, code=2)


def test_another_run_in_the_folder_is_left_alone(suite: Path, out: Path) -> None:
    invoke(suite, "--baseline", "answer-all", "--out", out)
    before = (out / "replies.jsonl").read_bytes()
    told = invoke(suite, "--baseline", "refuse-all", "--out", out, code=2)
    assert 'target.name was "answer-all" and is "refuse-all"' in told
    assert (out / "replies.jsonl").read_bytes() == before


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_killed_goes_on(suite: Path, out: Path, tmp_path: Path, kill: signal.Signals) -> None:
    numbers, may_go_on = itertools.count(1), threading.Event()

    def script(body: dict[str, Any]) -> Reaction:
        if next(numbers) > 9:
            may_go_on.wait(PATIENCE)
        return Said("Fold it.")

    command = [
        sys.executable,
        "-c",
        "from safer_training.evaluation.cli import evaluation; evaluation()",
        "run",
        str(suite),
    ]
    with serving(ScriptedEndpoint(script)) as endpoint:
        arguments = ["--endpoint", endpoint.url, "--out", str(out), "--at-once", "3"]
        process = subprocess.Popen(
            [*command, *arguments], stderr=subprocess.PIPE, env={**os.environ, **PLAIN}, text=True
        )
        wait_for(lambda: len(endpoint.bodies) == 12)
        process.send_signal(kill)
        said = process.communicate(timeout=PATIENCE)[1]
        may_go_on.set()
        assert process.returncode == (130 if kill is signal.SIGINT else -kill)
        assert ("stopped; what was replied is kept" in said) is (kill is signal.SIGINT)
        assert "Traceback" not in said
        assert len(replies(out)) == 9
        assert json.loads((out / "run.json").read_text())["ended"] is None
        assert "30 of 30" in invoke(suite, *arguments)
    assert len(endpoint.bodies) == 12 + 21
    assert len({reply.uid for reply in replies(out)}) == 30
