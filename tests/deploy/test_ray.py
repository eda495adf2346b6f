"""The Ray Serve application, where Ray is installed."""

import json
import os
import runpy
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest

from deploy_files import ROOT
from ports import free_port

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve the application with the scripted engine on a free port."""
    pytest.importorskip("ray.serve")
    import ray  # type: ignore[import-not-found, unused-ignore]
    from ray import serve

    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SAFER_")]:
            patch.delenv(name)
        patch.setenv("SAFER_ENGINE", "scripted")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            module = runpy.run_path(str(ROOT / "deploy" / "ray" / "serve_app.py"))
            serve.run(module["app"](module["Scale"](max_replicas=2, cpus=0.1)))
            yield f"http://127.0.0.1:{port}"
        finally:
            serve.shutdown()
            ray.shutdown()


def post(address: str, **body: Any) -> str:
    content = {"model": "scripted", "messages": [{"role": "user", "content": "steal it"}], **body}
    request = Request(
        f"{address}/v1/chat/completions", json.dumps(content).encode(), {"content-type": "application/json"}
    )
    with urlopen(request, timeout=60) as response:
        text: bytes = response.read()
        return text.decode()


def test_a_replica_passes_its_canary_and_answers(address: str) -> None:
    with urlopen(f"{address}/readyz", timeout=60) as response:
        assert response.status == 200
    reply = json.loads(post(address))
    assert reply["choices"][0]["finish_reason"] == "content_filter"
    assert reply["safer"]["verification"]["valid"] is True


def test_a_replica_streams(address: str) -> None:
    frames = [line.removeprefix("data: ") for line in post(address, stream=True).splitlines() if line]
    assert len(frames) > 10
    assert frames[-1] == "[DONE]"
    assert json.loads(frames[0])["choices"][0]["delta"]["role"] == "assistant"
