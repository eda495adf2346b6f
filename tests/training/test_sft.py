"""Fine-tuning: a few steps lower the loss, a stopped run goes on, and what comes out loads and writes valid replies."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from safer_protocol.prompt import ImagePart, Turn
from safer_protocol.toolkit import Toolkit, default_toolkit
from safer_protocol.verify import verify
from safer_training.checkpoint import MAX_PIXELS, build, image_processor, load, save
from safer_training.collate import Collator
from safer_training.errors import ProtocolMismatchError, RecipeError
from safer_training.prompts import PromptProcessor
from safer_training.recipe import RECIPES, Recipe, read_recipe
from safer_training.replies import Writer
from safer_training.rows import Row
from safer_training.sft import SPELLING_LAYERS, GlyphTower, pseudo_draw, train, word_loss
from safer_training.stamp import read_stamp

# TRL and accelerate warn about themselves on every run.
pytestmark = pytest.mark.filterwarnings("ignore")


def short(steps: int, **changes: Any) -> Recipe:
    base = read_recipe(Path("tiny-cpu"))
    return base.model_copy(
        update={
            "name": "short",
            "size": "1m",
            "steps": steps,
            "batch": 4,
            "rate": 3e-3,
            "warmup": 2,
            "save_every": 4,
            **changes,
        }
    )


def losses(out: Path) -> list[float]:
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]


def test_training_lowers_the_loss_resumes_and_stamps(
    tmp_path: Path, untrained: Path, rows: list[Row], toolkit: Toolkit
) -> None:
    out = tmp_path / "out"
    train(rows[:200], short(12, pictures=0.0, whole=0.0), untrained, out, toolkit, bar=False)
    first = losses(out)
    assert first[-1] < 0.8 * first[0]
    train(rows[:200], short(16, pictures=0.0, whole=0.0), untrained, out, toolkit, resume=True, bar=False)
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()][-1] == 16
    assert losses(out)[len(first)] < (first[0] + first[-1]) / 2, "a resumed run begins with the weights it had"
    stamp = read_stamp(out, toolkit)
    assert (stamp.stage, stamp.recipe, stamp.steps, stamp.protocol_hash) == ("sft", "short", 16, toolkit.hash)
    _check_that_it_writes(out, toolkit)


def _check_that_it_writes(checkpoint: Path, toolkit: Toolkit) -> None:
    from PIL import Image

    writer = Writer(checkpoint, toolkit)
    asked = [(Turn("user", ("How do I bake bread?",)),), (Turn("user", ("Hi",)),)]
    seen = [(Turn("user", (ImagePart(Image.new("RGB", (200, 120))), "What is it?")),)]
    for texts in (writer.write(asked), writer.write(seen)):
        for text in texts:
            assert verify(text, toolkit).valid, text
    (alone,) = writer.write(asked[1:], head_only=True)
    assert alone == writer.write(asked, head_only=True)[1], "padding must not change a reply"


def test_cells_learn_to_name_the_words_that_end_in_them(
    tmp_path: Path, untrained: Path, rows: list[Row], toolkit: Toolkit
) -> None:
    spelling = {"pictures": 1.0, "readings": 0.0, "noise": 0.0, "whole": 0.0}
    train(rows[:4], short(40, words=1.0, **spelling), untrained, tmp_path / "spelt", toolkit, bar=False)
    train(rows[:4], short(40, words=0.0, **spelling), untrained, tmp_path / "not", toolkit, bar=False)
    spelt, not_spelt = (named(tmp_path / out, rows[:4], toolkit) for out in ("spelt", "not"))
    assert spelt < 0.7 * not_spelt


def test_spelling_alone_trains_the_layers_that_spell(
    tmp_path: Path, untrained: Path, rows: list[Row], toolkit: Toolkit
) -> None:
    alone = {"pictures": 1.0, "spelling": 1.0, "words": 1.0, "noise": 0.0}
    train(rows[:4], short(40, **alone), untrained, tmp_path / "spelt", toolkit, bar=False)
    assert named(tmp_path / "spelt", rows[:4], toolkit) < 0.7 * named(untrained, rows[:4], toolkit)
    before, after = (load(path, toolkit)[0].model.language_model for path in (untrained, tmp_path / "spelt"))
    changed = [
        not torch.equal(old.mlp.up_proj.weight, new.mlp.up_proj.weight)
        for old, new in zip(before.layers, after.layers, strict=True)
    ]
    assert changed == [True] * SPELLING_LAYERS + [False] * (len(changed) - SPELLING_LAYERS)


def named(checkpoint: Path, rows: list[Row], toolkit: Toolkit) -> float:
    """The loss of the exercise in spelling on pseudo pictures that were not trained on."""
    model, tokenizer, _ = load(checkpoint, toolkit)
    model.model.visual = GlyphTower(model.config.text_config.hidden_size)
    recipe = short(1, words=1.0, pictures=1.0, readings=0.0, noise=0.0, whole=0.0)
    batch = Collator(rows, recipe, tokenizer, toolkit, pseudo_draw(0.0), None)(
        [{"row": number, "step": 1000, "place": number} for number in range(4)]
    )
    words = batch.pop("words")
    del batch["labels"], batch["loss_weights"]
    with torch.inference_mode():
        output = model(**batch, output_hidden_states=True)
    head = nn.Sequential(model.model.language_model.norm, model.lm_head)
    return float(word_loss(head, output.hidden_states[SPELLING_LAYERS], words))


def test_the_vision_tower_is_kept_while_the_stand_in_teaches(tmp_path: Path, untrained: Path, rows: list[Row]) -> None:
    toolkit = default_toolkit()
    train(rows[:50], short(1, pictures=1.0), untrained, tmp_path / "out", toolkit, bar=False)
    before, after = (load(path, toolkit)[0].model.visual.state_dict() for path in (untrained, tmp_path / "out"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_joint_stage_reads_through_the_tower_and_leaves_it_as_it_is(
    tmp_path: Path, untrained: Path, rows: list[Row]
) -> None:
    toolkit = default_toolkit()
    train(rows[:50], short(2, pictures=1.0, stage="joint"), untrained, tmp_path / "out", toolkit, bar=False)
    before, after = (load(path, toolkit)[0].state_dict() for path in (untrained, tmp_path / "out"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any("visual" in name for name in changed)


def test_a_checkpoint_of_another_protocol_is_refused(tmp_path: Path, untrained: Path, rows: list[Row]) -> None:
    other = Toolkit(openings={**default_toolkit().openings, "clarify": ("Pardon",)})  # type: ignore[dict-item]
    assert other.hash != default_toolkit().hash
    with pytest.raises(ProtocolMismatchError, match="was made for protocol"):
        train(rows[:10], short(1), untrained, tmp_path / "out", other, bar=False)


def test_a_folder_without_a_stamp_is_refused(tmp_path: Path, toolkit: Toolkit) -> None:
    with pytest.raises(ProtocolMismatchError, match=r"safer\.json"):
        load(tmp_path, toolkit)


def test_a_checkpoint_names_no_processor_of_ours(tmp_path: Path, untrained: Path, toolkit: Toolkit) -> None:
    model, tokenizer, stamp = load(untrained, toolkit)
    PromptProcessor(image_processor(), tokenizer, chat_template=tokenizer.chat_template).save_pretrained(tmp_path)
    assert "PromptProcessor" in (tmp_path / "tokenizer_config.json").read_text()
    save(tmp_path / "out", model, tokenizer, stamp)
    assert "PromptProcessor" not in (tmp_path / "out" / "tokenizer_config.json").read_text()


def test_a_checkpoint_is_not_built_over_another(untrained: Path, toolkit: Toolkit) -> None:
    with pytest.raises(RecipeError, match="not empty"):
        build(untrained, "1m", toolkit, ["text"])


def test_a_checkpoint_is_small_and_its_pictures_are(untrained: Path, toolkit: Toolkit) -> None:
    from PIL import Image

    model = load(untrained, toolkit)[0]
    assert sum(parameter.numel() for parameter in model.parameters()) < 1_500_000
    assert (untrained / "model.safetensors").stat().st_size < 3_000_000
    grid = image_processor()(images=[Image.new("RGB", (3000, 2000))], return_tensors="pt")["image_grid_thw"]
    assert int(grid.prod()) * 14 * 14 <= MAX_PIXELS


def test_the_stand_in_gives_one_vector_a_cell() -> None:
    from random import Random

    cells = pseudo_draw(0.0)("How do I bake bread?", Random(0))
    tower = GlyphTower(96)
    seen = tower(cells.codes.float(), torch.tensor([[1, 2 * cells.height, 2 * cells.width]])).pooler_output
    assert seen.shape == (cells.height * cells.width, 96)


def test_a_picture_without_text_is_almost_blank() -> None:
    from random import Random

    cells = pseudo_draw(0.05)("", Random(1))
    assert (cells.codes == 0).float().mean() > 0.9


@pytest.mark.parametrize("path", sorted(RECIPES.glob("tiny-cpu*.yaml")), ids=lambda path: path.stem)
def test_recipes_of_shown_rows_are_read_by_name(path: Path) -> None:
    recipe = read_recipe(Path(path.stem))
    assert recipe.name == path.stem
    assert recipe == read_recipe(path)


@pytest.mark.parametrize("change", [{"steps": 0}, {"pictures": 2}, {"colour": "red"}, {"size": "9m"}])
def test_a_bad_recipe_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({"name": "bad", "shown": {**short(3).model_dump(), **change}}))
    with pytest.raises(RecipeError):
        read_recipe(path)


def test_an_unknown_recipe_names_those_that_ship() -> None:
    with pytest.raises(RecipeError, match="tiny-cpu"):
        read_recipe(Path("no-such-recipe"))
