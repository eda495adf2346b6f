"""Batches: prompts left, completions right, labels on completions alone, weights where the decision is."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from safer_protocol.prompt import IMAGE_PAD
from safer_protocol.text import parse
from safer_protocol.toolkit import Toolkit
from safer_training.collate import IGNORED, Collator, Target, encode_target, pad
from safer_training.recipe import Recipe, read_recipe
from safer_training.rows import Row
from safer_training.sft import pseudo_draw, schedule_rows, weighted_loss


@pytest.fixture
def recipe() -> Recipe:
    return read_recipe(Path("tiny-cpu"))


def collator(rows: list[Row], recipe: Recipe, tokenizer: Any, toolkit: Toolkit, **shares: float) -> Collator:
    return Collator(rows, recipe.model_copy(update=shares), tokenizer, toolkit, pseudo_draw(0.05), None)


def drawn(numbers: Iterable[int], step: int = 0) -> list[dict[str, int]]:
    return [{"row": number, "step": step, "place": place} for place, number in enumerate(numbers)]


def test_padding_aligns_completions() -> None:
    batch = pad([[1, 2, 3], [4]], [Target([5], [1.0]), Target([6, 7], [0.5, 1.0])], pad_id=0, image_id=3)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 5, 0], [0, 0, 4, 6, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert batch["labels"].tolist() == [[5, IGNORED], [6, 7]]
    assert batch["loss_weights"].tolist() == [[1.0, 0.0], [0.5, 1.0]]
    assert batch["mm_token_type_ids"].tolist() == [[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]


def test_decisive_tokens_weigh_most(tokenizer: Any) -> None:
    text = "<plan>\ncategory=violent_crimes; risk=critical; persona=guardian; topology=mesh; depth=brief\n"
    target = encode_target(tokenizer, text, 0.15, ended=False)
    heavy = "".join(
        tokenizer.decode([i]) for i, weight in zip(target.ids, target.weights, strict=True) if weight == 1.0
    )
    assert heavy == "=violent_crimes=critical"
    assert set(target.weights) == {0.15, 1.0}
    assert encode_target(tokenizer, text, 0.15, ended=True).ids[-1] == tokenizer.eos_token_id


def test_whole_replies_in_a_batch_parse(rows: list[Row], recipe: Recipe, tokenizer: Any, toolkit: Toolkit) -> None:
    batch = collator(rows, recipe, tokenizer, toolkit, whole=1, pictures=0)(drawn(range(0, 800, 100)))
    for labels in batch["labels"]:
        ids = [token for token in labels.tolist() if token != IGNORED]
        assert ids[-1] == tokenizer.eos_token_id
        assert not parse(tokenizer.decode(ids[:-1]), toolkit).violations
    columns = batch["labels"].shape[1]
    kept = batch["labels"] != IGNORED
    assert torch.equal(batch["labels"][kept], batch["input_ids"][:, -columns:][kept])


def test_words_of_pictures_are_labels_of_their_last_cells(
    rows: list[Row], recipe: Recipe, tokenizer: Any, toolkit: Toolkit
) -> None:
    made = collator(rows, recipe, tokenizer, toolkit, pictures=1, readings=0, words=1.0)
    batch = made(drawn(range(0, 120, 10)))
    named = batch["words"][..., 0] != IGNORED
    pads = batch["input_ids"] == tokenizer.convert_tokens_to_ids(IMAGE_PAD)
    assert named.any()
    assert not (named & ~pads).any()
    spelt = [tokenizer.decode([t for t in labels.tolist() if t != IGNORED]) for labels in batch["words"][named]]
    assert all(word.startswith(" ") and word == word.lower() for word in spelt)
    assert "words" not in collator(rows, recipe, tokenizer, toolkit, pictures=0, words=1.0)(drawn(range(4)))


def test_a_batch_is_all_conversations_or_none(
    rows: list[Row], recipe: Recipe, tokenizer: Any, toolkit: Toolkit
) -> None:
    made = collator(rows, recipe, tokenizer, toolkit, pictures=0, dialogues=0.5)
    opened = tokenizer.convert_tokens_to_ids("<|im_start|>")
    turns = [(made(drawn(range(0, 320, 40), step))["input_ids"] == opened).sum(-1) for step in range(20)]
    assert {bool((counts > 3).any()) for counts in turns} == {True, False}
    assert any((counts <= 3).all() for counts in turns)


def test_heads_end_after_the_decision(rows: list[Row], recipe: Recipe, tokenizer: Any, toolkit: Toolkit) -> None:
    batch = collator(rows, recipe, tokenizer, toolkit, whole=0, pictures=0)(drawn(range(8)))
    for labels in batch["labels"]:
        text = tokenizer.decode([token for token in labels.tolist() if token != IGNORED])
        assert text.startswith("<plan>\ncategory=")
        assert text.count("\n") == 2


@pytest.mark.parametrize("readings", [0, 1])
def test_pictures_bring_their_cells(
    rows: list[Row], recipe: Recipe, tokenizer: Any, toolkit: Toolkit, readings: float
) -> None:
    made = collator(rows, recipe, tokenizer, toolkit, pictures=1, readings=readings)
    batch = made(drawn(range(0, 60, 10)))
    pads = (batch["input_ids"] == tokenizer.convert_tokens_to_ids(IMAGE_PAD)).sum(-1)
    assert pads.tolist() == (batch["image_grid_thw"].prod(-1) // 4).tolist()
    assert len(batch["pixel_values"]) == pads.sum()
    if readings:
        heavy = batch["labels"][batch["loss_weights"] > 0]
        assert "=none" not in tokenizer.decode(heavy)


def test_the_loss_is_a_weighted_mean() -> None:
    logits = torch.zeros(1, 2, 4)
    logits[0, 0, 1] = 50.0
    labels, weights = torch.tensor([[1, 2]]), torch.tensor([[3.0, 1.0]])
    assert weighted_loss(logits, labels, weights, weights.sum()).item() == pytest.approx(
        torch.tensor(4.0).log().item() / 4
    )
    assert weighted_loss(
        logits, torch.tensor([[1, IGNORED]]), weights * torch.tensor([[1.0, 0.0]]), weights.sum()
    ).item() == pytest.approx(0)


def test_both_classes_are_drawn_alike(rows: list[Row], recipe: Recipe) -> None:
    order = schedule_rows(rows, recipe.model_copy(update={"steps": 200}))
    assert len(order) == 200 * recipe.batch
    assert order == schedule_rows(rows, recipe.model_copy(update={"steps": 200}))
    assert sum(rows[number].refusing for number in order) / len(order) == pytest.approx(0.5, abs=0.03)
