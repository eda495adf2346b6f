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
from openai import OpenAI

from echo_upstream import EchoUpstream, echo_upstream
from loopback_process import LoopbackProcess, free_port

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
def node(guard: LoopbackProcess) -> Callable[[str], dict[str, Any]]:
    """Run a script with the guard's address and return what it prints."""

    def run(script: str) -> dict[str, Any]:
        command = [str(NODE), str(HERE / script), guard.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
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
        (folder / "config.yaml").write_text(json.dumps(litellm_config(guard.url, echo.url)))
        process = LoopbackProcess((LITELLM, "--config", str(folder / "config.yaml")), folder / "log", environment)
        try:
            process.wait("/health/liveliness", 120)
            with OpenAI(base_url=process.url, api_key=key, max_retries=0, timeout=60) as client:
                yield Proxy(client, echo)
        finally:
            process.stop()


def litellm_config(guard: str, echo: str) -> dict[str, Any]:
    """The configuration, as JSON, which is YAML too."""
    gone = f"http://127.0.0.1:{free_port()}"
    return {
        "model_list": [_model("guarded", "openai/scripted", f"{guard}/v1"), _model("echo", "openai/echo", echo)],
        "litellm_settings": {"num_retries": 0},
        "guardrails": [
            _guardrail("request", "pre_call", guard),
            _guardrail("beside", "during_call", guard),
            _guardrail("reply", "post_call", guard),
            _guardrail("whole-reply", "post_call", guard, streaming_end_of_stream_only=True),
            _guardrail("unknown-policy", "pre_call", guard, additional_provider_specific_params={"policy": "absent"}),
            _guardrail("gone", "pre_call", gone),
            _guardrail("gone-open", "pre_call", gone, unreachable_fallback="fail_open"),
        ],
    }


def _model(name: str, model: str, url: str) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": model, "api_base": url, "api_key": "none"}}


def _guardrail(name: str, mode: str, url: str, **more: Any) -> dict[str, Any]:
    params = {"guardrail": "generic_guardrail_api", "mode": mode, "api_base": url, **more}
    return {"guardrail_name": name, "litellm_params": params}
