"""The tests with a real vLLM, on a CPU: `make test-vllm`. Where vLLM is not installed they are left out."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from guard_server import GuardServer, guard_before
from safer_protocol.toolkit import default_toolkit
from safer_server.settings import PACKAGED_CHECKPOINT, Settings
from vllm_server import ENVIRONMENT, VllmServer

collect_ignore_glob = [] if find_spec("vllm") else ["test_*.py"]

POLICY = """\
name: short
topologies: [linear]
"""


def pytest_configure(config: pytest.Config) -> None:
    """Prepare this process for vLLM as its servers are prepared, and let it use what torch is about to drop."""
    if find_spec("vllm") is None:
        return
    os.environ.update(ENVIRONMENT)
    for category in ("DeprecationWarning", "FutureWarning"):
        config.addinivalue_line("filterwarnings", f"ignore:.*torch.* is deprecated:{category}")
    config.addinivalue_line("filterwarnings", "ignore:Unclosed context:ResourceWarning")  # of zmq, by AsyncLLM


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SAFER_{name.upper()}", raising=False)


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio."""
    return "asyncio"


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy file."""
    path = tmp_path_factory.mktemp("policies") / "short.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the tokenizer and the name of the one that ships, and with weights that mean nothing."""
    from transformers import AutoTokenizer

    from safer_training.checkpoint import new_model, save
    from safer_training.stamp import Stamp

    folder = tmp_path_factory.mktemp("untrained") / PACKAGED_CHECKPOINT.name
    tokenizer = AutoTokenizer.from_pretrained(PACKAGED_CHECKPOINT)
    stamp = Stamp(protocol_hash=default_toolkit().hash, size="1m", stage="untrained")
    save(folder, new_model("1m", tokenizer), tokenizer, stamp)
    return folder


@pytest.fixture(scope="session")
def start_vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., VllmServer]]:
    """Start a vLLM server, without waiting for it: `start_vllm(command, arguments)`."""
    started: list[VllmServer] = []

    def start(*args: Any, **options: Any) -> VllmServer:
        started.append(VllmServer(tmp_path_factory.mktemp("vllm"), *args, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def loading(start_vllm: Callable[..., VllmServer], policy: Path) -> VllmServer:
    """The server that most tests share, while it loads: two engines behind one port."""
    return start_vllm(arguments=("--policy", str(policy), "--data-parallel-size", "2"))


@pytest.fixture(scope="session")
def vllm(loading: VllmServer) -> VllmServer:
    """The same, loaded: the shipped checkpoint under the mask machine, with the default policy and `short`."""
    return loading.wait()


@pytest.fixture(scope="module")
def guard(vllm: VllmServer, policy: Path) -> Iterator[GuardServer]:
    """A guard before that server."""
    with guard_before([vllm.url], policies=(policy,), max_in_flight=16) as server:
        yield server.wait()
