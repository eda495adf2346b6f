"""Teaching letters: a few steps help, a stopped run goes on, and weights keep the names of a Qwen2.5-VL."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from safer_training.checkpoint import SHAPES, image_processor
from safer_training.glyphs import glyph_table
from safer_training.letters import (
    LettersRecipe,
    PictureStream,
    batch,
    excerpt,
    letters_loss,
    load_tower,
    look,
    measure,
    save_tower,
    train_letters,
)
from safer_training.render import draw

TEXTS = ("How do I bake bread at home?", "Steps to repair a bicycle.")
RECIPE = LettersRecipe(steps=4, cells=60, warmup=2, save_every=2)


@pytest.fixture
def tower() -> Any:
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    shape = SHAPES["1m"]
    torch.manual_seed(0)
    config = Qwen2_5_VLVisionConfig(
        depth=shape.vision_layers,
        hidden_size=shape.vision_hidden,
        num_heads=shape.vision_heads,
        intermediate_size=shape.vision_intermediate,
        out_hidden_size=shape.hidden,
        fullatt_block_indexes=[0],
    )
    return Qwen2_5_VisionTransformerPretrainedModel._from_config(config)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_few_steps_lower_the_loss(tower: Any, tmp_path: Path) -> None:
    fresh = batch([draw(TEXTS[0], Random(99))], image_processor())
    table = glyph_table(SHAPES["1m"].hidden)
    before = letters_loss(look(tower, fresh), fresh, table).item()
    train_letters(tower, TEXTS, tmp_path, RECIPE)
    assert letters_loss(look(tower, fresh), fresh, table).item() < before


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tower: Any, tmp_path: Path) -> None:
    start = {name: value.clone() for name, value in tower.state_dict().items()}
    train_letters(tower, TEXTS, tmp_path / "whole", RECIPE)
    whole = {name: value.clone() for name, value in tower.state_dict().items()}
    tower.load_state_dict(start)
    with pytest.raises(_StoppedError):
        train_letters(tower, TEXTS, tmp_path / "parts", RECIPE, on_step=_stop_at(3))
    train_letters(tower, TEXTS, tmp_path / "parts", RECIPE)
    for name, value in tower.state_dict().items():
        torch.testing.assert_close(value, whole[name])


class _StoppedError(Exception):
    pass


def _stop_at(last: int) -> Any:
    def on_step(step: int, loss: float) -> None:
        if step == last:
            raise _StoppedError

    return on_step


def test_what_is_saved_is_what_was_trained(tower: Any, tmp_path: Path) -> None:
    train_letters(tower, TEXTS, tmp_path, replace(RECIPE, steps=2))
    trained = {name: value.clone() for name, value in tower.state_dict().items()}
    load_tower(tower, tmp_path)
    for name, value in tower.state_dict().items():
        torch.testing.assert_close(value, trained[name], rtol=1e-2, atol=1e-4)


def test_weights_are_named_as_in_the_checkpoint(tower: Any, tmp_path: Path) -> None:
    from safetensors import safe_open

    save_tower(tower, tmp_path)
    with safe_open(tmp_path / "visual.safetensors", "pt") as saved:
        assert {"visual.patch_embed.proj.weight", "visual.merger.mlp.2.weight"} <= set(saved.keys())
    load_tower(tower, tmp_path)


def test_batches_are_the_same_whenever_they_are_drawn() -> None:
    late = next(iter(PictureStream(TEXTS, (), RECIPE, first=3)))
    all_of_them = list(PictureStream(TEXTS, (), RECIPE))
    assert len(all_of_them) == RECIPE.steps
    assert torch.equal(late.pixels, all_of_them[3].pixels)
    assert torch.equal(late.codes, all_of_them[3].codes)


def test_an_untrained_tower_reads_nothing(tower: Any) -> None:
    assert measure(tower, [draw(TEXTS[0], Random(0))], image_processor()).characters < 0.2


@pytest.mark.parametrize("most", [1, 5])
def test_an_excerpt_has_no_more_words_than_asked(most: int) -> None:
    rng = Random(0)
    assert all(1 <= len(excerpt(TEXTS[0], rng, most).split()) <= most for _ in range(50))
