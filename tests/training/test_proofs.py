"""Proofs of the stages: a killed run that goes on ends like one that was never stopped, and two processes learn what one does."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from ports import free_port
from safer_protocol.toolkit import Toolkit
from safer_training.curriculum import section, train_stage
from safer_training.recipe import Curriculum, Lora
from safer_training.stage import steps_done
from small_data import build_folder
from waiting import wait_for

pytestmark = pytest.mark.filterwarnings("ignore")

SHARED: dict[str, Any] = {
    "epochs": 1,
    "batch": 4,
    "at_once": 4,
    "rate": 1e-3,
    "schedule": "cosine",
    "tower": "trained",
    "checkpointing": False,
    "save_every": 2,
}
RECIPE: dict[str, Any] = {
    "name": "proof",
    "sft": SHARED,
    "dpo": {**SHARED, "beta": 0.1},
    "grpo": {
        **SHARED,
        "rows": 4,
        "generations": 4,
        "prompts": 1,
        "completion": 380,
        "kl": 0.01,
        "clip_low": 0.2,
        "clip_high": 0.3,
        "constrained": True,
        "rewards": {"verified": 1.0},
    },
}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, toolkit: Toolkit) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    build_folder(folder, toolkit, count=16, held_out=2, pictures=3)
    return folder


def weights(out: Path) -> dict[str, Any]:
    """Return what the last saved step holds, as float32: the checkpoint itself is rounded."""
    step = out / "steps" / f"checkpoint-{steps_done(out)}"
    (file,) = step.glob("*model.safetensors")
    found: dict[str, Any] = load_file(file)
    return found


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-W", "ignore", *map(str, arguments)]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Add up in one order, here as in the processes that are started: two threads would differ in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def environment(**changes: str) -> dict[str, str]:
    paths = os.pathsep.join(str(ROOT / part) for part in ("protocol", "training"))
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **changes}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "adapters"), [("sft", False), ("sft", True), ("dpo", False), ("dpo", True), ("grpo", False)]
)
def test_a_run_that_goes_on_ends_like_one_that_was_not_stopped(
    name: Any, adapters: bool, tmp_path: Path, data: Path, untrained: Path, toolkit: Toolkit
) -> None:
    stage = section(Curriculum.model_validate(RECIPE), name)
    stage = stage.model_copy(update={"lora": Lora(rank=4, alpha=8)} if adapters else {})
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train_stage(stage, data, untrained, whole, toolkit, quiet=True)
    shutil.copytree(whole / "steps" / "checkpoint-2", stopped / "steps" / "checkpoint-2")
    train_stage(stage, data, untrained, stopped, toolkit, quiet=True, resume=True)
    first, again = weights(whole), weights(stopped)
    early = load_file(next((whole / "steps" / "checkpoint-2").glob("*model.safetensors")))
    assert any(not torch.equal(first[key], early[key]) for key in first), "nothing was learnt after the stop"
    assert first.keys() == again.keys()
    for key, value in again.items():
        assert torch.equal(value, first[key]), key
    assert (stopped / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.long
def test_kill_9_and_resume(tmp_path: Path, data: Path, untrained: Path, toolkit: Toolkit) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    recipe.write_text(yaml.safe_dump({**RECIPE, "sft": {**SHARED, "epochs": 8}}))
    run = command("-m", "safer_training", "sft", untrained, "--out", out, "--recipe", recipe, "--data", data)
    with subprocess.Popen(
        run, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wait_for(lambda: steps_done(out) >= 2 or process.poll() is not None, 120)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it was killed before its end"
    assert not (out / "safer.json").exists()
    stage = sft_section(recipe)
    train_stage(stage, data, untrained, out, toolkit, quiet=True, resume=True)
    train_stage(stage, data, untrained, tmp_path / "whole", toolkit, quiet=True)
    first = weights(tmp_path / "whole")
    assert all(torch.equal(value, first[key]) for key, value in weights(out).items())


def sft_section(path: Path) -> Any:
    return section(Curriculum.model_validate(yaml.safe_load(path.read_text())), "sft")


def test_a_save_that_was_cut_short_is_not_resumed_from(tmp_path: Path) -> None:
    for name, files in (("checkpoint-2", ["trainer_state.json"]), ("checkpoint-4", ["model.safetensors"])):
        (tmp_path / "steps" / name).mkdir(parents=True)
        for file in files:
            (tmp_path / "steps" / name / file).touch()
    assert steps_done(tmp_path) == 2
    assert steps_done(tmp_path / "none") == 0


@pytest.mark.long
def test_two_processes_learn_what_one_does(tmp_path: Path, data: Path, untrained: Path, toolkit: Toolkit) -> None:
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "two"
    recipe.write_text(yaml.safe_dump({**RECIPE, "sft": {**SHARED, "at_once": 2}}))
    launch = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port()))
    run = command(*launch, "-m", "safer_training", "sft", untrained, "--out", out, "--recipe", recipe, "--data", data)
    done = subprocess.run(run, env=environment(ACCELERATE_USE_CPU="1"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    # One process makes two passes of two rows of each batch, in which rows of unequal length lie.
    train_stage(sft_section(recipe), data, untrained, tmp_path / "one", toolkit, quiet=True)
    one, two = weights(tmp_path / "one"), weights(out)
    early = load_file(tmp_path / "one" / "steps" / "checkpoint-2" / "model.safetensors")
    moved = max(float((one[key] - early[key]).abs().max()) for key in one)
    for key, value in two.items():
        assert float((value - one[key]).abs().max()) < 0.02 * moved, key
