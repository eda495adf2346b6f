"""Shared by the server's tests: scripted replies, an app in process, and a live server on loopback."""

import asyncio
import logging
import os
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pytest
from openai import OpenAI
from PIL import Image
from starlette.testclient import TestClient

from safer_protocol.policy import Policy, default_policy
from safer_protocol.prompt import Turn
from safer_protocol.text import print_reply
from safer_protocol.toolkit import default_toolkit
from safer_server.app import create_app
from safer_server.engines.base import EngineRequest
from safer_server.engines.markers import by_markers
from safer_server.engines.scripted import ScriptedEngine
from safer_server.logs import HumanFormatter, RequestFilter
from safer_server.policies import Policies
from safer_server.settings import Settings
from threaded_server import serving_app
from waiting import PATIENCE

TOOLKIT = default_toolkit()


def beside_the_default(served: Iterable[Policy]) -> Policies:
    return {policy.name: policy for policy in (default_policy(TOOLKIT), *served)}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the settings of whoever runs the tests out of them, and what the tests write out of that one's folders."""
    for name in os.environ:
        if name.startswith(("SAFER_", "OTEL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SAFER_AUDIT_DIR", str(tmp_path_factory.mktemp("audit")))


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio."""
    return "asyncio"


@pytest.fixture
def written() -> Callable[[str], str]:
    """Give the reply that the shipped script writes for a message."""

    def write(message: str) -> str:
        return print_reply(by_markers(EngineRequest((Turn("user", (message,)),))), TOOLKIT)

    return write


@pytest.fixture
def in_process() -> Iterator[Callable[..., TestClient]]:
    """Start an app in this process: `in_process(engine, served, **settings)`, `served` being policies beside the default one."""
    clients: list[TestClient] = []

    def start(engine: ScriptedEngine | None = None, served: Iterable[Policy] = (), **settings: Any) -> TestClient:
        app = create_app(Settings(**settings), engine or ScriptedEngine(), beside_the_default(served))
        client = TestClient(app, raise_server_exceptions=False)
        clients.append(client.__enter__())
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@dataclass(frozen=True)
class Live:
    """A server on loopback and the official client for it."""

    url: str
    openai: OpenAI
    engine: ScriptedEngine
    loop: asyncio.AbstractEventLoop
    listener: Any
    """Its socket; connections take over its options."""


@pytest.fixture
def live() -> Iterator[Callable[..., Live]]:
    """Start a server in a thread: `live(engine, served, **settings)`, `served` being policies beside the default one."""
    with ExitStack() as running:

        def start(engine: ScriptedEngine | None = None, served: Iterable[Policy] = (), **settings: Any) -> Live:
            engine = engine or ScriptedEngine()
            app = create_app(Settings(**settings), engine, beside_the_default(served))
            server = running.enter_context(serving_app(app, lifespan="on"))
            client = OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE)
            running.callback(client.close)
            return Live(server.url, client, engine, server.loop, server.listener)

        yield start


@pytest.fixture
def server_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """Catch all log lines as the server writes them, the web server's too, which it would otherwise keep to itself."""
    monkeypatch.setattr(caplog.handler, "filters", [RequestFilter()])
    monkeypatch.setattr(caplog.handler, "formatter", HumanFormatter())
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
    for name in ("uvicorn", "uvicorn.error"):
        caplog.set_level(logging.DEBUG, name)
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.fixture
def chat_body() -> Callable[..., dict[str, Any]]:
    """Make a request body: `chat_body(message, **fields)`."""

    def make(message: object = "hello", **fields: Any) -> dict[str, Any]:
        return {"model": "scripted", "messages": [{"role": "user", "content": message}], **fields}

    return make


@pytest.fixture
def data_url() -> Callable[..., str]:
    """Write a picture as a data: URL: `data_url(image, format, **options)`."""

    def write(image: Image.Image | None = None, kind: str = "PNG", **options: Any) -> str:
        file = BytesIO()
        (image or Image.new("RGB", (8, 8), "red")).save(file, kind, **options)
        return f"data:image/{kind.lower()};base64,{b64encode(file.getvalue()).decode()}"

    return write
