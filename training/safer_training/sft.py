"""Supervised fine-tuning on the teacher's replies, with TRL's trainer.

1. Rows are drawn with weights: each class a fixed share, small sets more often than their size says.
2. Each draw shows the row anew (`shown`, `collate`): reworded, in a conversation, or as a picture.
3. Most batches end after the head of the plan, where category and risk are decided; the rest teach the whole reply.
4. Before the vision tower can read, `GlyphTower` stands in for it: it looks up what a tower that reads should say. The joint
   stage goes on with drawn pictures and the tower itself.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout
from trl import SFTConfig, SFTTrainer

from safer_protocol.toolkit import Toolkit
from safer_training.batches import SftBatches
from safer_training.checkpoint import MERGE, computes_bfloat16, image_processor, load, save
from safer_training.collate import IGNORED, Collator
from safer_training.data.records import SftRow
from safer_training.glyphs import BLANK, CHARACTERS, Cells, embed, glyph_table, pseudo_picture
from safer_training.letters import load_tower
from safer_training.recipe import Recipe, SftStage
from safer_training.rows import Row, digest
from safer_training.shown import Draw
from safer_training.stage import (
    LOG_FILE,
    STEPS_DIR,
    JsonLog,
    Resumable,
    adapters,
    arguments,
    begin,
    chosen,
    in_order,
    run,
    steps_done,
)

SPELLING_LAYERS = 2
"""Layers of the language model that turn the cells of a picture into words; those above read these like a text."""


class GlyphTower(nn.Module):
    """A stand-in for the vision tower that takes the characters of cells and returns their fixed vectors."""

    spatial_merge_size = MERGE
    dtype = torch.float32

    def __init__(self, hidden: int) -> None:
        """Hold the fixed table."""
        super().__init__()
        self.register_buffer("table", glyph_table(hidden), persistent=False)

    def forward(self, pixel_values: Tensor, grid_thw: Tensor, **_: Any) -> Any:
        """Return the vectors [cells, hidden] of codes [cells, SLOTS] as `pooler_output`."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        assert isinstance(self.table, Tensor)
        return BaseModelOutputWithPooling(pooler_output=embed(pixel_values.long(), self.table))


def pseudo_draw(noise: float) -> Draw:
    """Return a maker of pseudo pictures; an empty text gives blank cells with a few stray characters."""

    def draw(text: str, rng: Random, large: bool | None = None) -> Cells:
        cells = pseudo_picture(text or "?", rng, noise, large)
        if text:
            return cells
        codes = torch.full_like(cells.codes, BLANK)
        for cell in range(len(codes)):
            if rng.random() < 0.04:
                codes[cell, 0] = rng.randrange(1, len(CHARACTERS))
        return Cells(cells.height, cells.width, codes)

    return draw


def real_draw(text: str, rng: Random, large: bool | None = None) -> Any:
    """Draw a text in some font and layout, or a scene without text; returns a `Picture`."""
    from safer_training.render import draw, scene

    return draw(text, rng, "easy" if rng.random() < 0.3 else "seen", large) if text else scene(rng)


def schedule_rows(rows: Sequence[Row], recipe: Recipe) -> list[int]:
    """Return the row numbers of every step in order; batches hold texts of like length."""
    sizes = Counter(row.set for row in rows)
    weights = [sizes[row.set] ** -recipe.balance for row in rows]
    for refusing in (True, False):
        total = sum(weight for row, weight in zip(rows, weights, strict=True) if row.refusing is refusing)
        share = recipe.refusing if refusing else 1 - recipe.refusing
        weights = [w * share / total if row.refusing is refusing else w for row, w in zip(rows, weights, strict=True)]
    rng = Random(recipe.seed)
    drawn = rng.choices(range(len(rows)), weights, k=recipe.steps * recipe.batch)
    pool, order = recipe.batch * 32, []
    for start in range(0, len(drawn), pool):
        part = sorted(drawn[start : start + pool], key=lambda number: len(rows[number].text))
        batches = [part[at : at + recipe.batch] for at in range(0, len(part), recipe.batch)]
        rng.shuffle(batches)
        order += [number for batch in batches for number in batch]
    return order


def weighted_loss(logits: Tensor, labels: Tensor, weights: Tensor, total: Tensor) -> Tensor:
    """Cross-entropy times weight over `total`; `logits` [rows, columns, vocabulary], `labels` and `weights` [rows, columns]."""
    losses = cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    return (losses * weights.flatten()).sum() / total


def word_loss(head: Any, hidden: Tensor, words: Tensor) -> Tensor:
    """Cross-entropy of the tokens of words, where cells of pictures have to name them.

    `hidden` [rows, columns, width] is what the first `SPELLING_LAYERS` layers put out, `words` [rows, columns, WORD_TOKENS] the
    token ids or `IGNORED`. Norm and head are those of the last layer, so a word that was spelt looks like one that was written.
    """
    at = words[..., 0] != IGNORED
    labels = words[at]
    if not len(labels):
        return hidden.sum() * 0.0
    scores = head(hidden[at]).float().log_softmax(-1)
    known = labels != IGNORED
    named = scores.gather(-1, labels.clamp_min(0)) * known
    loss: Tensor = -(named.sum(-1) / known.sum(-1)).mean()
    return loss


class WeightedTrainer(Resumable, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer with a weight for every token."""

    def __init__(self, *args: Any, words: float = 0.0, **kwargs: Any) -> None:
        """Have the weights of an update counted beforehand, whatever the model does with such a count; `words` weighs spelling."""
        super().__init__(*args, **kwargs)
        self.words_weight = words
        self.model_accepts_loss_kwargs = True

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Tensor]], device: Any) -> Tensor:
        """Return the weight of all tokens of an update, over its passes and all processes."""
        weight = sum((sample["loss_weights"].sum() for sample in batch_samples), torch.tensor(0.0))
        total: Tensor = self.accelerator.gather(weight.to(device)).sum()
        return total

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the share of a pass in the weighted loss of its update; only the completion's logits are computed.

        Gradients are averaged over processes, hence the factor: several processes, or passes, then learn what one would.
        """
        if not inputs["labels"].shape[1]:
            return self._spelling_loss(model, inputs)
        labels, weights, words = inputs.pop("labels"), inputs.pop("loss_weights"), inputs.pop("words", None)
        outputs = model(
            **inputs, use_cache=False, logits_to_keep=labels.shape[1] + 1, output_hidden_states=words is not None
        )
        loss = weighted_loss(outputs.logits[:, :-1], labels, weights, num_items_in_batch)
        loss = loss * self.accelerator.num_processes
        if words is not None:
            loss = loss + self.words_weight * word_loss(
                nn.Sequential(model.model.language_model.norm, model.lm_head),
                outputs.hidden_states[SPELLING_LAYERS],
                words,
            )
        return (loss, outputs) if return_outputs else loss

    def _spelling_loss(self, model: Any, inputs: Any) -> Tensor:
        """Compute the loss of a batch of pictures that are only spelt, by the layers that spell."""
        del inputs["labels"], inputs["loss_weights"]
        words, language_model = inputs.pop("words"), model.model.language_model
        layers = language_model.layers
        language_model.layers = layers[:SPELLING_LAYERS]
        try:
            hidden = model.model(**inputs, use_cache=False).last_hidden_state
        finally:
            language_model.layers = layers
        return self.words_weight * word_loss(model.lm_head, hidden, words)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log without the running token metrics that TRL's own loss would have gathered."""
        super(SFTTrainer, self).log(logs, *args, **kwargs)


def train_sft(
    rows: Sequence[SftRow],
    folder: Path,
    stage: SftStage,
    start: Path,
    out: Path,
    toolkit: Toolkit,
    *,
    resume: bool = False,
    quiet: bool = False,
    wandb: bool = False,
) -> None:
    """Train the checkpoint in `start` on built rows whose pictures lie below `folder`, and write the result to `out`.

    `start` may be a Qwen2.5-VL that no protocol is stamped on: this is the stage that teaches it one.
    """
    taken, begun = chosen(rows, stage), begin(start, stage, toolkit, adopt=True)
    trainer = WeightedTrainer(
        model=begun.model,
        args=SFTConfig(
            **arguments(stage, len(taken), out, quiet=quiet, wandb=wandb),
            train_sampling_strategy="sequential",
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
        ),
        train_dataset=Dataset.from_dict({"row": in_order(taken, stage)}),
        data_collator=SftBatches(folder, begun.tokenizer, begun.images, taken, stage.fixed_weight),
        processing_class=begun.processor,
        peft_config=adapters(stage),
    )
    run(trainer, begun, stage, taken, out, "sft", resume)


def train(
    rows: Sequence[Row],
    recipe: Recipe,
    start: Path,
    out: Path,
    toolkit: Toolkit,
    *,
    tower: Path | None = None,
    resume: bool = False,
    bar: bool = True,
) -> None:
    """Train the checkpoint in `start` on rows and write the result to `out`; with `resume`, go on from its last saved step.

    `tower` is a folder with a vision tower that has been taught letters; it replaces the checkpoint's own.
    """
    model, tokenizer, stamp = load(start, toolkit)
    if tower is not None:
        load_tower(model.model.visual, tower)
    visual, processor = model.model.visual, image_processor()
    # In the joint stage the tower stays as it was taught: the language model learns to bear its mistakes.
    visual.requires_grad_(False)
    if recipe.stage == "sft":
        model.model.visual = GlyphTower(model.config.text_config.hidden_size)
    dropped = model.get_input_embeddings().register_forward_hook(
        lambda module, _, vectors: dropout(vectors, recipe.dropout, module.training)
    )
    done = steps_done(out) if resume else 0
    draw = pseudo_draw(recipe.noise) if recipe.stage == "sft" else real_draw
    trainer = WeightedTrainer(
        model=model,
        args=_arguments(recipe, out, bar),
        train_dataset=_numbered(schedule_rows(rows, recipe), recipe.batch),
        data_collator=Collator(rows, recipe, tokenizer, toolkit, draw, processor),
        processing_class=tokenizer,
        callbacks=[JsonLog(out / LOG_FILE)],
        words=recipe.words,
    )
    trainer.train(resume_from_checkpoint=done > 0)
    model.model.visual = visual
    dropped.remove()
    told = {
        "stage": recipe.stage,
        "recipe": recipe.name,
        "data_hash": digest(rows),
        "steps": stamp.steps + recipe.steps,
    }
    save(out, model, tokenizer, stamp.model_copy(update=told))


def _numbered(order: Sequence[int], batch: int) -> Dataset:
    """Say of every drawn row in which step it is shown, and at which place."""
    places = range(len(order))
    columns = {"row": list(order), "step": [p // batch for p in places], "place": [p % batch for p in places]}
    return Dataset.from_dict(columns)


def _arguments(recipe: Recipe, out: Path, bar: bool) -> Any:
    out.mkdir(parents=True, exist_ok=True)
    return SFTConfig(
        output_dir=str(out / STEPS_DIR),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch,
        learning_rate=recipe.rate,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        bf16=computes_bfloat16(),
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        logging_steps=max(1, min(50, recipe.steps // 10)),
        save_steps=recipe.save_every,
        save_total_limit=2,
        report_to="tensorboard",
        disable_tqdm=not bar,
        seed=recipe.seed,
    )
