"""The whole curriculum on a million parameters: it runs, it teaches, and it leaves behind what it promises."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from safer_protocol.toolkit import Toolkit
from safer_training.cli import train
from safer_training.data.records import GrpoRow, read_part
from safer_training.recipe import read_curriculum
from safer_training.stamp import read_stamp
from small_data import build_folder

# TRL, accelerate and PyTorch warn about themselves on every run.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.long
def test_the_curriculum_improves_reward_and_accuracy_and_reports_it(tmp_path: Path, toolkit: Toolkit) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    build_folder(data, toolkit, count=96, held_out=24, pictures=4)
    command = ["all", "--recipe", "tiny-ci", "--data", str(data), "--out", str(out), "--sample", "24"]
    ran = CliRunner().invoke(train, command)
    assert ran.exit_code == 0, ran.output
    found = json.loads((out / "report.json").read_text())["stages"]
    first, last = found["start"], found["grpo"]
    assert last["reward"] > first["reward"] + 0.15
    assert last["decisions"]["accuracy"] > first["decisions"]["accuracy"] + 0.2
    assert all(one["valid"] == 1.0 for one in found.values())

    report = (out / "report.md").read_text()
    assert "| after | reward `verified` |" in report
    assert report.count("\n| ") == 5
    assert (out / "curves.png").stat().st_size > 10_000
    steps = 0
    for stage in ("sft", "dpo", "grpo"):
        folder = out / stage
        stamp = read_stamp(folder, toolkit)
        assert (stamp.stage, stamp.recipe) == (stage, "tiny-ci")
        assert stamp.data_hash
        assert stamp.steps > steps
        steps = stamp.steps
        assert toolkit.hash in (folder / "README.md").read_text()
        assert yaml.safe_load((folder / "recipe.yaml").read_text())[stage]["seed"] == 1
        assert list((folder / "steps").rglob("events.out.tfevents.*"))
    assert any("verified/outages" in line for line in (out / "grpo" / "log.jsonl").read_text().splitlines())

    again = CliRunner().invoke(train, command)
    assert again.exit_code == 0, again.output
    assert "from" not in again.output, "what is done is not done again"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, toolkit: Toolkit) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    build_folder(folder, toolkit, count=8, held_out=2, pictures=2)
    return folder


def test_a_dry_run_says_what_it_would_take_and_makes_nothing(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "out"
    ran = CliRunner().invoke(train, ["all", "--recipe", "tiny-ci", "--data", str(data), "--out", str(out), "--dry-run"])
    assert ran.exit_code == 0, ran.output
    assert ran.output.count("memory of a device") == 3
    assert "data: 8 rows" in ran.output
    assert "steps: 6 updates" in ran.output  # 6 epochs of 8 rows in batches of 8
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dpo", "START", "--recipe", "tiny-cpu-joint"], "no section `dpo`"),
        (["grpo", "START", "--recipe", "nothing"], "no recipe nothing"),
        (["sft", "START", "--recipe", "tiny-ci", "--dry-run"], "neither a folder here nor"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], said: str, tmp_path: Path, data: Path) -> None:
    named = [str(tmp_path / "none") if one == "START" else one for one in arguments]
    ran = CliRunner().invoke(train, [*named, "--data", str(data), "--out", str(tmp_path / "out")])
    assert ran.exit_code == 2
    assert said in " ".join(ran.output.replace("│", " ").split())


@pytest.mark.parametrize("option", ["--dry-run", "--wandb"])
def test_what_shown_rows_cannot_have_is_refused_and_nothing_is_trained(option: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(train, ["sft", str(tmp_path), "--out", str(tmp_path / "out"), option])
    assert ran.exit_code == 2
    assert "only for built rows" in ran.output
    assert not (tmp_path / "out").exists()


def test_rows_that_are_missing_are_said(tmp_path: Path) -> None:
    ran = CliRunner().invoke(train, ["dpo", str(tmp_path), "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert ran.exit_code == 2
    assert "no such file" in ran.output


def test_the_released_figures_make_the_released_steps() -> None:
    """6,000 prompts in rollouts of 256 are 23 an epoch; two epochs of eight updates a rollout are 368."""
    for name in ("qwen2.5-vl-3b", "qwen2.5-vl-7b"):
        stage = read_curriculum(Path(name)).grpo
        assert stage is not None
        assert (stage.rollout_updates, stage.updates(6000)) == (8, 368)
        assert stage.accumulation(8) * stage.at_once * 8 == 128


def test_small_data_has_rows_for_every_stage(data: Path) -> None:
    assert [row.expected for row in read_part(data, "held_out", GrpoRow)]
