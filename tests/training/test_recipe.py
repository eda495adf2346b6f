"""Recipes: what ships is read, and what is wrong is named."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from safer_training.errors import RecipeError
from safer_training.recipe import RECIPES, read_curriculum

GRPO = yaml.safe_load((RECIPES / "tiny-ci.yaml").read_text())["grpo"]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_that_ship_are_read(path: Path) -> None:
    curriculum = read_curriculum(Path(path.stem))
    assert curriculum.name == path.stem
    assert any((curriculum.shown, curriculum.sft, curriculum.dpo, curriculum.grpo))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"generatoins": 4}, "grpo.generatoins: no such key"),
        ({"rate": 0}, "grpo.rate"),
        ({"rate": None}, "grpo.rate"),
        ({"schedule": "linear"}, "grpo.schedule"),
        ({"rewards": {"judged": 1.0}}, "grpo.rewards.judged"),
        ({"rewards": {}}, "grpo.rewards"),
        ({"rewards": {"verified": 0.0}}, "a weight is above 0"),
        ({"rewards": {"paper": 1.0}}, "the reward `paper` needs one"),
        ({"judge": {"url": "http://127.0.0.1:1", "model": "x", "key": "y"}}, "grpo.judge.key: no such key"),
        ({"generations": 3}, "a multiple of generations"),
        ({"prompts": 5}, "of which prompts x generations is a multiple"),
        ({"prompts": 16, "save_every": 3}, "save_every: a multiple of the 4 updates"),
        ({"lora": {"rank": 0, "alpha": 1}}, "grpo.lora.rank"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({"name": "bad", "grpo": {**GRPO, **change}}))
    with pytest.raises(RecipeError) as raised:
        read_curriculum(path)
    assert named in str(raised.value)


def test_spelling_needs_a_weight(tmp_path: Path) -> None:
    shown = yaml.safe_load((RECIPES / "tiny-cpu.yaml").read_text())["shown"]
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({"name": "bad", "shown": {**shown, "spelling": 0.5, "words": 0.0}}))
    with pytest.raises(RecipeError, match="words: the exercise in spelling needs a weight"):
        read_curriculum(path)


def test_a_missing_key_and_a_misspelt_section_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({"name": "bad", "grop": GRPO, "grpo": {k: v for k, v in GRPO.items() if k != "kl"}}))
    with pytest.raises(RecipeError) as raised:
        read_curriculum(path)
    assert "grop: no such key" in str(raised.value)
    assert "grpo.kl: Field required" in str(raised.value)


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    stage = read_curriculum(Path("tiny-ci")).grpo
    assert stage is not None
    with pytest.raises(RecipeError, match="not a multiple"):
        stage.accumulation(3)
