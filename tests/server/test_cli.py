"""The command line."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from safer_protocol.toolkit import default_toolkit
from safer_server.cli import app
from safer_server.cli.display import printable
from safer_server.cli.progress import compile_bar
from safer_server.engines.scripted import ScriptedEngine

RUNNER = CliRunner()


def run(*arguments: str, stdin: str | None = None) -> tuple[int, str]:
    result = RUNNER.invoke(app, list(arguments), input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_help_names_every_command() -> None:
    code, output = run("--help")
    assert code == 0
    for name in ("serve", "ask", "verify", "protocol"):
        assert name in output
        assert run(name, "--help")[0] == 0


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from safer_server.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "print(sorted({'torch', 'transformers', 'fastapi', 'PIL', 'openai', 'trl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("question", "outcome", "label"),
    [("hello", "answered", "answer"), ("steal it", "refused", "refusal"), ("medicine", "safe_completed", "answer")],
)
def test_ask_prints_plan_steps_and_answer(question: str, outcome: str, label: str) -> None:
    code, output = run("ask", "--engine", "scripted", question)
    assert code == 0
    lines = [line.split()[0] for line in output.splitlines()]
    assert lines[0] == "plan"
    assert lines.count("step") == 4
    assert lines[-2:] == [label, outcome]
    assert "[SAFETY-GATE]: rationale=" in output
    assert "verified" in output


def test_ask_takes_pictures_and_depth(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(picture)
    code, output = run("ask", "--engine", "scripted", "what?", "--image", str(picture), "--depth", "brief")
    assert code == 0
    assert "depth=brief" in output
    assert "[OCR-EXTRACT]" in output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ask", "hello", "--engine", "scripted", "--depth", "huge"], 1, "safer.depth"),
        (["ask", "hello", "--engine", "other"], 2, "SAFER_ENGINE"),
        (["ask", "hello", "--model", "/nowhere"], 1, "is not a checkpoint"),
        (["serve", "--model", "/nowhere"], 1, "is not a checkpoint"),
        (["serve", "--port", "70000", "--engine", "scripted"], 2, "SAFER_PORT"),
        (["ask", "hello", "--engine", "scripted", "--image", "/nowhere.png"], 2, "does not exist"),
        (["verify", "/nowhere"], 2, "No such file"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], code: int, words: str) -> None:
    found, output = run(*arguments)
    assert found == code
    assert words in output
    assert "Traceback" not in output


def test_ask_says_when_a_picture_is_none(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"no picture")
    code, output = run("ask", "--engine", "scripted", "what?", "--image", str(picture))
    assert (code, "cannot be decoded" in output) == (1, True)


def test_ask_a_server(live: Callable[..., Any]) -> None:
    url = live().url
    for form in (url, f"{url}/", f"{url}/v1"):
        code, output = run("ask", "steal it", "--url", form)
        assert code == 0
        assert "refused" in output.splitlines()[-1]
    code, output = run("ask", "hello", "--url", url, "--depth", "huge")
    assert (code, "safer.depth" in output) == (1, True)
    broken = live(ScriptedEngine(lambda _: "free text\n")).url
    code, output = run("ask", "hello", "--url", broken)
    assert (code, "failed closed: invalid_trace" in output) == (1, True)
    assert run("ask", "hello", "--url", "http://127.0.0.1:9")[0] == 1


def test_verify_text_json_and_stdin(tmp_path: Path, written: Callable[[str], str]) -> None:
    file = tmp_path / "reply.txt"
    file.write_text(written("steal"))
    assert run("verify", str(file)) == (0, "valid: decision refuse\n")
    assert run("verify", "-", stdin=written("hello"))[0] == 0
    file.write_text(json.dumps({"text": written("steal")}))
    assert run("verify", str(file))[0] == 0
    code, output = run("verify", "-", stdin=written("steal").replace("verdict=refuse", "verdict=allow"))
    assert code == 1
    assert "decision_against_risk" in output.replace("\n", "")
    assert run("verify", "-", stdin='{"text": 5}')[0] == 1
    assert run("verify", "-", stdin="")[0] == 1


def test_protocol_as_tables_and_as_json() -> None:
    code, output = run("protocol")
    assert code == 0
    for name in ("SAFETY-GATE", "guardian", "shield", default_toolkit().hash):
        assert name in output
    card = json.loads(run("protocol", "--json")[1])
    assert card["protocol_hash"] == default_toolkit().hash


@pytest.mark.parametrize("told", [[(0, 3), (1, 3), (3, 3)], []], ids=["compiles", "finds all"])
def test_a_first_start_shows_what_it_compiles_and_any_other_nothing(
    monkeypatch: pytest.MonkeyPatch, told: list[tuple[int, int]]
) -> None:
    def opening(*_: object, progress: Callable[[int, int], None], **__: object) -> ScriptedEngine:
        for done, total in told:
            progress(done, total)
        return ScriptedEngine()

    monkeypatch.setattr("safer_server.engines.table.open_engine", opening)
    result = RUNNER.invoke(app, ["ask", "hello", "--engine", "scripted"])
    assert result.exit_code == 0
    assert result.stdout.startswith("plan ")
    said = "compiling the grammar, once for this vocabulary: 3 blocks\n"
    assert result.stderr == (said if told else "")


def test_a_terminal_gets_a_bar_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with compile_bar() as progress:
        pass
    assert capsys.readouterr().err == ""
    with compile_bar() as progress:
        progress(0, 3)
        progress(3, 3)
    shown = capsys.readouterr().err
    assert "compiling the grammar" in shown
    assert "3/3" in shown
    assert shown.endswith("\x1b[2K")  # the line is erased


def test_text_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[31mb\u202ec\r\nd\te") == "a\ufffd[31mb\ufffdc\ufffd\nd\te"


def test_registered_commands_are_loaded_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    plugin = typer.Typer(help="A plugin.")

    @plugin.command()
    def greet(name: str) -> None:
        typer.echo(f"hello {name}")

    @plugin.command()
    def other() -> None:
        """Make this a group."""

    monkeypatch.setitem(sys.modules, "plugin_of_test", type(sys)("plugin_of_test"))
    sys.modules["plugin_of_test"].app = plugin  # type: ignore[attr-defined]
    entries = [
        EntryPoint("friend", "plugin_of_test:app", "safer.commands"),
        EntryPoint("absent", "no_such_package_at_all:app", "safer.commands"),
    ]
    monkeypatch.setattr("safer_server.cli.plugins.entry_points", lambda group: entries)
    assert run("friend", "greet", "you") == (0, "hello you\n")
    code, output = run("--help")
    assert (code, "A plugin." in output, "Not installed" in output) == (0, True, True)
    code, output = run("absent", "whatever", "--option")
    assert (code, "pip install" in output) == (1, True)
