"""Several server processes: real ones on loopback, one port, one sum of numbers, replaced and drained."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from unittest.mock import Mock, patch

import httpx
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionUserMessageParam
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner
from uvicorn.config import STARTUP_FAILURE, Config

import safer_server.asgi
from certificates import make_certificate
from safer_server.cli import app
from safer_server.settings import Settings
from safer_server.workers import Supervisor
from waiting import PATIENCE, wait_for

SAFER = [str(Path(sys.executable).with_name("safer"))]
GATED = [sys.executable, str(Path(__file__).parents[1] / "support" / "gated_server.py")]


def user(content: str) -> ChatCompletionUserMessageParam:
    return {"role": "user", "content": content}


@dataclass(frozen=True)
class Served:
    """A server that a test started, with the directory of its numbers; every request to it has a connection of its own."""

    process: subprocess.Popen[bytes]
    log: Path
    numbers: Path
    web: httpx.Client

    @property
    def url(self) -> str:
        found = re.search(r"https?://127\.0\.0\.1:\d+", self.log.read_text())
        return found.group() if found else ""

    def answers(self) -> bool:
        try:
            return bool(self.url) and self.web.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def workers(self) -> set[int]:
        """The workers that live, as far as the supervisor knows."""
        return {int(file.stem.rpartition("_")[2]) for file in self.numbers.glob("gauge_livesum_*.db")}

    @cached_property
    def openai(self) -> OpenAI:
        alone = {"Connection": "close"}
        url = f"{self.url}/v1"
        return OpenAI(base_url=url, api_key="none", max_retries=0, timeout=PATIENCE, default_headers=alone)

    def started(self) -> int:
        """How many workers have begun to serve so far."""
        return self.log.read_text().count("Application startup complete")

    def ask(self, times: int) -> None:
        """Send requests, 16 at a time."""
        completions, message = self.openai.chat.completions, user("hello")
        with ThreadPoolExecutor(16) as pool:
            replies = pool.map(lambda _: completions.create(model="scripted", messages=[message]), range(times))
            assert all(reply.choices[0].message.content for reply in replies)

    def scrape(self, name: str) -> list[float]:
        """Read every series of a metric, from whichever worker answers."""
        text = self.web.get(f"{self.url}/metrics").text
        return [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        ]

    def count(self) -> float:
        return sum(self.scrape("safer_requests_total"))


def freeze(worker: int) -> None:
    """Stop a worker; what it has not taken by now it takes no more."""
    os.kill(worker, signal.SIGSTOP)
    wait_for(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "T")


@contextmanager
def stopped(worker: int) -> Iterator[None]:
    """Keep a worker from answering, so that another one must."""
    freeze(worker)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start a server: `serve(command, workers, **environment)`."""
    started: list[Served] = []
    web = httpx.Client(
        verify=False, trust_env=False, timeout=PATIENCE, limits=httpx.Limits(max_keepalive_connections=0)
    )

    def start(command: list[str], workers: int, **environment: str) -> Served:
        numbers = tmp_path / "numbers"
        numbers.mkdir()
        variables = {"GATE": str(tmp_path / "gate"), "FAULT": str(tmp_path / "fault")}
        if workers > 1:
            variables["PROMETHEUS_MULTIPROC_DIR"] = str(numbers)
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "serve", "--engine", "scripted", "--workers", str(workers), "--port", "0"],
                env={**os.environ, **variables, **environment},
                stdout=log,
                stderr=log,
            )
        started.append(Served(process, tmp_path / "log", numbers, web))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.process.terminate()
        served.process.wait(PATIENCE)
        served.openai.close()
    web.close()


def test_every_worker_serves_https(serve: Callable[..., Served], tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    served = serve(SAFER, 2, SAFER_TLS_CERTIFICATE=str(certificate.chain), SAFER_TLS_KEY=str(certificate.key))
    wait_for(lambda: served.started() == len(served.workers()) == 2 and served.answers())
    assert served.url.startswith("https://")
    for idle in served.workers():
        with stopped(idle), httpx.Client(verify=certificate.trust, trust_env=False, timeout=PATIENCE) as client:
            assert client.get(f"{served.url}/version").json()["engine"] == "scripted"


def test_the_numbers_are_one_sum_and_outlive_a_worker(serve: Callable[..., Served]) -> None:
    served = serve(SAFER, 2)
    wait_for(lambda: served.started() == len(served.workers()) == 2 and served.answers())
    first, second = served.workers()
    # Each worker serves some requests alone, so that neither can have counted them all.
    for idle in (first, second):
        with stopped(idle):
            served.ask(20)
    served.ask(140)
    for idle in (first, second):
        with stopped(idle):
            assert served.count() == 180
            assert served.scrape("safer_request_seconds_count") == [180]
            assert served.scrape("safer_engine_up") == [1]
            assert served.scrape("safer_build_info") == [1]
    wait_for(lambda: served.scrape("safer_in_flight") == served.scrape("safer_queue_depth") == [0])

    # It dies while the supervisor is waiting for a sign of life from it.
    freeze(first)
    served.ask(20)
    os.kill(first, signal.SIGKILL)
    counts = [served.count()]

    def replaced() -> bool:
        served.ask(1)
        counts.append(served.count())
        return first not in served.workers() and len(served.workers()) == 2

    wait_for(replaced)
    assert counts == [200.0 + number for number in range(len(counts))]
    (new,) = served.workers() - {second}
    wait_for(
        lambda: served.started() == 3
    )  # before the other one is stopped, which its supervisor does not bear for long
    with stopped(second):
        served.ask(5)
        assert served.count() == counts[-1] + 5
    assert served.workers() == {second, new}

    # Nor do workers outlive the supervisor, which could not say good-bye: they would hold the port.
    served.process.kill()
    wait_for(lambda: not served.answers())


@pytest.mark.parametrize("workers", [1, 2])
def test_every_line_that_is_logged_can_be_read_by_machines(serve: Callable[..., Served], workers: int) -> None:
    served = serve(SAFER, workers, SAFER_LOG_FORMAT="json")
    wait_for(served.answers)
    served.ask(2)
    served.process.terminate()
    served.process.wait(PATIENCE)
    lines = [json.loads(line) for line in served.log.read_text().splitlines()]
    assert {line["logger"] for line in lines} == {"uvicorn.error", "safer_server.access", "safer_server.audit.log"}
    asked = [line for line in lines if line.get("path") == "/v1/chat/completions"]
    assert [(line["status"], line["request_id"][:4]) for line in asked] == [(200, "req_")] * 2


@pytest.mark.parametrize(("workers", "code"), [(1, -signal.SIGTERM), (2, 0)])
def test_a_stream_ends_well_although_the_server_is_told_to_stop(
    workers: int, code: int, serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve(GATED, workers)
    wait_for(served.answers)
    stream = served.openai.chat.completions.create(model="scripted", messages=[user("wait")], stream=True)
    chunks = [next(stream), next(stream)]
    if workers > 1:
        assert served.scrape("safer_in_flight") == [1]
    served.process.terminate()
    wait_for(lambda: not served.answers())
    assert served.process.poll() is None
    (tmp_path / "gate").touch()
    chunks += stream
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert served.process.wait(PATIENCE) == code
    assert not served.workers()


def test_a_reply_that_takes_too_long_does_not_keep_the_server(serve: Callable[..., Served]) -> None:
    served = serve(GATED, 1, SAFER_SHUTDOWN_SECONDS="0")
    wait_for(served.answers)
    with served.openai.chat.completions.create(model="scripted", messages=[user("wait")], stream=True) as stream:
        next(stream)
        served.process.terminate()
        served.process.wait(PATIENCE)


def test_a_worker_that_cannot_start_ends_the_server_and_says_so_once(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    (tmp_path / "fault").touch()
    served = serve(GATED, 2)
    assert served.process.wait(PATIENCE) == 1
    assert served.log.read_text().count("RuntimeError: the weights are broken\n") == 1


def test_one_that_is_started_later_and_cannot_start_ends_it_as_well() -> None:
    with patch("signal.signal"):
        supervisor = Supervisor(Config("safer_server.asgi:create", workers=2, log_config=None), [])
    supervisor.processes = [Mock(exitcode=STARTUP_FAILURE, is_alive=Mock(return_value=False))]
    supervisor.keep_subprocess_alive()
    assert (supervisor.should_exit.is_set(), supervisor.gave_up) == (True, True)


def test_uvicorn_learns_that_there_is_no_use_in_trying_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFER_MODEL", "/nowhere")
    with pytest.raises(SystemExit) as end:
        safer_server.asgi.create()
    assert end.value.code == STARTUP_FAILURE


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--model", "/nowhere"], 1, "is not a checkpoint"),
        (["--engine", "scripted", "--policy", "/nowhere.yaml"], 1, "/nowhere.yaml"),
        (["--engine", "other"], 2, "SAFER_ENGINE"),
        (["--engine", "scripted", "--workers", "0"], 2, "SAFER_WORKERS"),
    ],
)
def test_what_is_wrong_is_said_before_a_worker_is_started(arguments: list[str], code: int, words: str) -> None:
    with patch("safer_server.workers.run_workers", side_effect=AssertionError("started")):
        result = CliRunner().invoke(app, ["serve", "--workers", "2", *arguments])
    assert (result.exit_code, result.output.count(words)) == (code, 1)


def test_the_directory_of_the_numbers_must_be_there() -> None:
    with patch.dict(os.environ, PROMETHEUS_MULTIPROC_DIR="/nowhere"):
        result = CliRunner().invoke(app, ["serve", "--workers", "2", "--engine", "scripted"])
    assert (result.exit_code, result.output) == (1, "PROMETHEUS_MULTIPROC_DIR: /nowhere is not a directory\n")


def test_workers_read_the_options_from_the_environment(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("name: strict\n")
    told = ["--engine", "scripted", "--workers", "3", "--policy", str(policy), "--host", "::1", "--port", "0"]
    found: list[tuple[Settings, Settings, bool]] = []

    def look(settings: Settings) -> bool:
        found.append((settings, Settings(), Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).is_dir()))
        return True

    with patch.dict(os.environ), patch("safer_server.workers.run_workers", look):
        assert CliRunner().invoke(app, ["serve", *told, "--allow-protocol-mismatch"]).exit_code == 0
    ((given, read, had_directory),) = found
    assert given == read
    assert (read.workers, read.policies, read.host, read.allow_protocol_mismatch) == (3, (policy,), "::1", True)
    assert had_directory
