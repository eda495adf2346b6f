"""What a request may tell the machine inside vLLM, what it may not ask beside it, and the command that starts such a vLLM."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from safer_protocol.plan import Depth, Plan
from safer_protocol.toolkit import default_toolkit
from safer_server.cli import app
from safer_server.settings import PACKAGED_CHECKPOINT
from safer_server.vllm.launch import PROCESSOR, server_command
from safer_server.vllm.options import MachineOptions, check, options_of, toolkits

PLAN = Plan(category="none", risk="low", persona="analyst", topology="linear", depth="brief", tools=("OCR-EXTRACT",))
POLICY = "name: strict\ntopologies: [linear]\n"


@pytest.fixture(autouse=True)
def _fresh_toolkits() -> Iterator[None]:
    toolkits.cache_clear()
    yield
    toolkits.cache_clear()


def params(**fields: Any) -> Any:
    defaults: dict[str, Any] = {
        "min_tokens": 0, "allowed_token_ids": None, "bad_words": None, "ignore_eos": False, "stop": [],
        "structured_outputs": None, "thinking_token_budget": None, "repetition_detection": None,
        "trace_decode_token_ids": None, "extra_args": None,
    }  # fmt: skip
    return SimpleNamespace(**{**defaults, **fields})


@pytest.mark.parametrize(
    "options",
    [
        MachineOptions(),
        MachineOptions(depth=Depth.FULL, answer_tokens=3, constrain=False),
        MachineOptions(plan=PLAN, policy_hash=default_toolkit().hash),
    ],
)
def test_options_come_back_as_they_were_sent(options: MachineOptions) -> None:
    arguments = options.arguments()
    assert options_of(arguments) == options
    assert options_of({"safer": json.dumps(arguments["safer"])}) == options
    assert options_of(json.loads(json.dumps(arguments))) == options


def test_a_request_that_says_nothing_is_constrained() -> None:
    assert options_of(None) == options_of({}) == options_of({"other": 1}) == MachineOptions()
    check(params())


@pytest.mark.parametrize(
    ("extra_args", "said"),
    [
        ({"safer": {"depht": "brief"}}, r"safer\.depht"),
        ({"safer": {"depth": "deep"}}, r"safer\.depth"),
        ({"safer": {"answer_tokens": 0}}, r"safer\.answer_tokens"),
        ({"safer": {"plan": {"category": "none"}}}, r"safer\.plan\.risk"),
        ({"safer": "{not json"}, "safer: Invalid JSON"),
        ({"safer": [1]}, "safer"),
        ({"safer": None}, "safer"),
        ({"safer_depth": "brief"}, "safer_depth is unknown"),
        ({"SAFER": {}}, "SAFER is unknown"),
        ({"safer": {"policy_hash": "0" * 64}}, "does not serve that policy"),
    ],
)
def test_wrong_options_are_named(extra_args: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check(params(extra_args=extra_args))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_tokens", 5),
        ("allowed_token_ids", [1]),
        ("bad_words", ["x"]),
        ("ignore_eos", True),
        ("stop", ["\n"]),
        ("structured_outputs", object()),
        ("thinking_token_budget", 0),
        ("repetition_detection", object()),
        ("trace_decode_token_ids", []),
    ],
)
def test_what_contradicts_the_machine_is_refused_by_name_unless_the_machine_is_off(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} contradicts"):
        check(params(**{name: value}))
    check(params(**{name: value}, extra_args=MachineOptions(constrain=False).arguments()))


def test_the_policies_of_the_environment_are_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "strict.yaml"
    file.write_text(POLICY)
    monkeypatch.setenv("SAFER_POLICIES", json.dumps([str(file)]))
    assert len(toolkits()) == 2
    (added,) = set(toolkits()) - {default_toolkit().hash}
    check(params(extra_args=MachineOptions(policy_hash=added).arguments()))


def test_the_command_is_vllms_own_server_with_the_machine_and_what_is_passed_on_overrides() -> None:
    command = server_command(PACKAGED_CHECKPOINT, "127.0.0.1", 8001, ["--tensor-parallel-size", "2"])
    assert command[:3] == [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    assert command[command.index("--logits-processors") + 1] == PROCESSOR
    assert command[command.index("--model") + 1] == str(PACKAGED_CHECKPOINT)
    assert "--enable-scale-out" in command
    assert command[-2:] == ["--tensor-parallel-size", "2"]


def test_without_vllm_the_command_says_how_to_install_it() -> None:
    pytest.importorskip("transformers")
    try:
        import vllm  # noqa: F401
    except ModuleNotFoundError:
        result = CliRunner().invoke(app, ["vllm", "--tensor-parallel-size", "2"])
        assert result.exit_code == 1
        assert "pip install 'safer-toolkit[vllm]'" in result.output
    else:
        pytest.skip("vLLM is installed")
