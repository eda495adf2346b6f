"""The tests with clients of other makers and languages: `make test-clients`. Where these are not installed they are left out."""

import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from openai import OpenAI

from client_examples import examples
from echo_upstream import EchoUpstream, echo_upstream
from loopback_process import LoopbackProcess
from ports import free_port
from waiting import PATIENCE

collect_ignore_glob = [] if find_spec("litellm") else ["test_*.py"]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LITELLM = str(Path(sys.executable).with_name("litellm"))
NODE = HERE / "node_modules" / ".bin" / "node"
SERVER = (str(ROOT / ".venv" / "bin" / "python"), str(ROOT / "tests" / "support" / "gated_server.py"), "serve")
"""The server in its own environment: LiteLLM needs an older rich and an older openai."""


@pytest.fixture(scope="session")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackProcess]:
    """A server that writes what the shipped script writes, and stops half way in its reply to `wait`."""
    folder = tmp_path_factory.mktemp("guard")
    gates = {"GATE": str(folder / "gate"), "FAULT": str(folder / "fault")}
    process = LoopbackProcess((*SERVER, "--engine", "scripted"), folder / "log", gates)
    try:
        process.wait("/readyz")
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="session")
def javascript() -> Callable[..., str]:
    """Run Node beside the clients for it, and return what it prints: `javascript(*arguments)`."""

    def run(*arguments: str) -> str:
        command = [str(NODE), *arguments]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=3 * PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def node(guard: LoopbackProcess, javascript: Callable[..., str]) -> Callable[[str], dict[str, Any]]:
    """Run a script with the guard's address and return the JSON that it prints."""

    def run(script: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(javascript(script, guard.url))
        return told

    return run


@dataclass(frozen=True)
class Proxy:
    """A LiteLLM proxy with the guard as a model and as a guardrail, and with a model that has no guard of its own."""

    openai: Any
    echo: EchoUpstream


@pytest.fixture(scope="session")
def proxy(guard: LoopbackProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Start LiteLLM; requests name the model, and the guardrails that shall see them."""
    folder = tmp_path_factory.mktemp("litellm")
    key = f"sk-{secrets.token_hex(32)}"  # it does not start with a weak one
    environment = {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with echo_upstream() as echo:
        (folder / "config.yaml").write_text(yaml.safe_dump(litellm_config(guard.url, echo.url)))
        process = LoopbackProcess((LITELLM, "--config", str(folder / "config.yaml")), folder / "log", environment)
        try:
            process.wait("/health/liveliness")
            with OpenAI(base_url=process.url, api_key=key, max_retries=0, timeout=PATIENCE) as client:
                yield Proxy(client, echo)
        finally:
            process.stop()


def litellm_config(guard: str, echo: str) -> dict[str, Any]:
    """The configuration: what docs/clients.md shows, where it is turned on by its name alone, and more."""
    models, guardrails = (yaml.safe_load(example) for example in examples("yaml", guard))
    (shown,) = guardrails["guardrails"]
    del shown["litellm_params"]["default_on"]
    gone = f"http://127.0.0.1:{free_port()}"
    unguarded = {"model": "openai/echo", "api_base": echo, "api_key": "none"}
    return {
        "model_list": [*models["model_list"], {"model_name": "echo", "litellm_params": unguarded}],
        "litellm_settings": {"num_retries": 0},
        "guardrails": [
            shown,
            _guardrail("request", "pre_call", guard),
            _guardrail("beside", "during_call", guard),
            _guardrail("reply", "post_call", guard),
            _guardrail("whole-reply", "post_call", guard, streaming_end_of_stream_only=True),
            _guardrail("unknown-policy", "pre_call", guard, additional_provider_specific_params={"policy": "absent"}),
            _guardrail("hasty", "pre_call", guard, timeout=1),
            _guardrail("lenient", "pre_call", guard, unreachable_fallback="fail_open"),
            _guardrail("gone", "pre_call", gone),
            _guardrail("gone-open", "pre_call", gone, unreachable_fallback="fail_open"),
        ],
    }


def _guardrail(name: str, mode: str, url: str, **more: Any) -> dict[str, Any]:
    params = {"guardrail": "generic_guardrail_api", "mode": mode, "api_base": url, **more}
    return {"guardrail_name": name, "litellm_params": params}
