"""The estimate of a dry run: right about size, and by it every recipe fits the devices that it is for."""

from pathlib import Path
from typing import Any

import pytest
from transformers import Qwen2_5_VLConfig

from safer_protocol.toolkit import Toolkit
from safer_training.curriculum import StageName, read_rows_of, section
from safer_training.estimate import estimate
from safer_training.recipe import read_curriculum
from small_data import build_folder

SHAPES: dict[str, dict[str, Any]] = {
    "3b": {"hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2},
    "7b": {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4},
}
WIDTHS = {"3b": 11008, "7b": 18944}
VISION = {"depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420}


@pytest.fixture(scope="module", params=["3b", "7b"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published shape of a model, and no weights."""
    size = request.param
    text = {
        **SHAPES[size],
        "intermediate_size": WIDTHS[size],
        "vocab_size": 151936 if size == "3b" else 152064,
        "tie_word_embeddings": size == "3b",
    }
    vision = {**VISION, "out_hidden_size": SHAPES[size]["hidden_size"]}
    folder: Path = tmp_path_factory.mktemp("models") / size
    Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=size == "3b").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, toolkit: Toolkit) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    build_folder(folder, toolkit, count=4, held_out=2, pictures=2)
    return folder


@pytest.mark.parametrize("name", ["sft", "dpo", "grpo"])
def test_recipes_fit_their_devices(name: StageName, model: Path, data: Path) -> None:
    rows = read_rows_of(name, data)
    full = estimate(model, section(read_curriculum(Path(f"qwen2.5-vl-{model.name}")), name), rows, devices=8)
    assert full.parameters == pytest.approx({"3b": 3.75e9, "7b": 8.29e9}[model.name], rel=0.01)
    assert full.trained == full.parameters
    assert full.total < 0.8 * 80 * 2**30
    giga = {"3b": 24, "7b": 80}[model.name]
    lora = estimate(model, section(read_curriculum(Path(f"qwen2.5-vl-{model.name}-lora-{giga}gb")), name), rows)
    assert lora.trained < 0.03 * lora.parameters
    assert lora.total < 0.8 * giga * 2**30


def test_states_are_shared_out_and_pictures_count(model: Path, data: Path) -> None:
    stage, rows = section(read_curriculum(Path(f"qwen2.5-vl-{model.name}")), "sft"), read_rows_of("sft", data)
    one, eight = estimate(model, stage, rows, 1), estimate(model, stage, rows, 8)
    assert one.states == pytest.approx(8 * eight.states, rel=1e-6)
    assert one.tokens > 4_194_304 // 784
    assert one.states > 18 * one.parameters - 8
