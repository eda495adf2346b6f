"""The examples of the documentation run as they stand, against a server with a scripted engine."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from PIL import Image

from safer_server.app import create_app
from safer_server.engines.scripted import ScriptedEngine
from safer_server.settings import Settings
from waiting import PATIENCE

API = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
ADDRESS = "http://127.0.0.1:8000"


def examples(language: str) -> str:
    """Everything that the page has in one language; what comes later builds on what comes before."""
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", API, re.DOTALL))


@pytest.fixture
def address(live: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Start a server, where there is a picture."""
    Image.new("RGB", (8, 8), "red").save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    return str(live(ScriptedEngine(model="tiny")).url)


def test_python(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(examples("python").replace(ADDRESS, address), names)
    names["client"].close()
    names["server"].close()
    said = capsys.readouterr().out
    assert "This is a scripted answer: no model was asked.\nanswered []\n<plan>\n" in said
    assert "'part': 'messages[0].content[0]'" in said
    verdicts = said[said.rindex("'unjudged'") :].splitlines()[1:]
    assert [verdicts[0], verdicts[1], verdicts[2], verdicts[-1]] == ["False", "reply True allow", "NONE", "True"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(address: str) -> None:
    script = "set -eu\n" + examples("sh").replace(ADDRESS, address)
    done = subprocess.run(["/bin/sh"], input=script, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    signs = (
        "chat.completion",
        "[DONE]",
        '"type":"image"',
        '"subject":"reply"',
        '"flagged"',
        '"NONE"',
        '"valid"',
        '"tools"',
    )
    for sign in signs:
        assert sign in done.stdout


@pytest.mark.parametrize("language", ["python", "sh"])
def test_every_body_has_an_example(language: str) -> None:
    app = create_app(Settings(), ScriptedEngine())
    paths = {route.path for route in app.routes if isinstance(route, APIRoute) and "POST" in (route.methods or ())}
    calls = {"/v1/chat/completions": "chat.completions.create", "/v1/moderations": "moderations.create"}
    assert not [
        path for path in paths if path not in examples(language) and calls.get(path, "?") not in examples(language)
    ]
