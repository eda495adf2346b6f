"""What all stages share: trainer arguments, logs, saving in a form that resumes, and the folder that a stage leaves behind."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from random import Random
from typing import Any

import torch
import yaml
from transformers import TrainerCallback

from safer_protocol.toolkit import Toolkit
from safer_training.card import write_stage_card
from safer_training.checkpoint import load, load_image_processor, save
from safer_training.data.records import Prompt
from safer_training.errors import DataError
from safer_training.prompts import PromptProcessor
from safer_training.recipe import Stage
from safer_training.rows import digest
from safer_training.stamp import Stamp

STEPS_DIR = "steps"
LOG_FILE = "log.jsonl"
RECIPE_FILE = "recipe.yaml"
_PICTURE_LENGTH = 400
"""Characters of JSON that take about as many tokens as a picture."""
_PROJECTIONS = "q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"


class JsonLog(TrainerCallback):  # type: ignore[misc]
    """Appends every log record to a JSONL file."""

    def __init__(self, path: Path) -> None:
        """Remember the file."""
        self.path = path

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Write one record, in one process."""
        if state.is_world_process_zero:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": state.global_step, **(logs or {})}) + "\n")


class Resumable:
    """For trainers: whole models are saved under the names that resuming reads."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write the weights again: transformers writes a Qwen2.5-VL's old names."""
        trainer: Any = self
        super()._save(output_dir, state_dict)  # type: ignore[misc]
        model = trainer.accelerator.unwrap_model(trainer.model)
        if not hasattr(model, "peft_config"):
            folder = output_dir or trainer.args.output_dir
            model.save_pretrained(folder, state_dict=state_dict, save_original_format=False)


def steps_done(out: Path) -> int:
    """Return the last step that was saved whole: the trainer's state is what it writes last."""
    saved = [path.parent.name for path in (out / STEPS_DIR).glob("checkpoint-*/trainer_state.json")]
    return max((int(name.split("-")[1]) for name in saved), default=0)


@dataclass
class Start:
    """The checkpoint that a stage starts from."""

    model: Any
    tokenizer: Any
    images: Any
    stamp: Stamp

    @property
    def processor(self) -> PromptProcessor:
        """Tokenizer and image processor as TRL takes them."""
        return PromptProcessor(self.images, self.tokenizer, chat_template=self.tokenizer.chat_template)


def begin(directory: Path, stage: Stage, toolkit: Toolkit, *, adopt: bool = False) -> Start:
    """Load a checkpoint for a stage, its vision tower frozen where the stage says so."""
    # Adapters are trained beside weights that stay as they are, so these need no more than bfloat16.
    dtype = "bfloat16" if stage.lora and torch.cuda.is_available() else "float32"
    model, tokenizer, stamp = load(directory, toolkit, dtype=dtype, adopt=adopt)
    tokenizer.padding_side = "left"
    if stage.tower == "frozen":
        model.model.visual.requires_grad_(False)
    return Start(model, tokenizer, load_image_processor(directory, stage.min_pixels, stage.max_pixels), stamp)


def adapters(stage: Stage) -> Any:
    """Return the configuration of adapters on the language model's projections, or None for full fine-tuning."""
    if stage.lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=stage.lora.rank,
        lora_alpha=stage.lora.alpha,
        lora_dropout=stage.lora.dropout,
        target_modules=rf".*language_model.*\.({_PROJECTIONS})",
        task_type="CAUSAL_LM",
    )


def chosen(rows: Sequence[Any], stage: Stage) -> list[Any]:
    """Return the rows that a stage takes; raise `DataError` where there are none."""
    taken = list(rows[: stage.rows])
    if not taken:
        raise DataError(f"no rows for {type(stage).__name__}")
    return taken


def in_order(rows: Sequence[Any], stage: Stage) -> list[int]:
    """Return the numbers of the rows of every update, one after the other: each epoch has all rows, a batch rows of like length.

    The order depends on the seed alone, so any number of devices, or a resumed run, sees the same updates. It is for a sequential
    sampler.
    """
    rng, order = Random(stage.seed), list[int]()
    lengths = [len(row.model_dump_json()) + _PICTURE_LENGTH * len(row.images) for row in rows]
    for _ in range(ceil(stage.epochs)):
        numbers = list(range(len(rows)))
        rng.shuffle(numbers)
        numbers.sort(key=lambda number: lengths[number])
        # The shortest rows may fill no batch: in another epoch chance leaves out others.
        spare = len(numbers) % stage.batch
        batches = [numbers[at : at + stage.batch] for at in range(spare, len(numbers), stage.batch)]
        rng.shuffle(batches)
        order += [number for batch in batches for number in batch] + numbers[:spare]
    return order


def arguments(stage: Stage, rows: int, out: Path, *, quiet: bool, wandb: bool) -> dict[str, Any]:
    """Return the arguments that TRL's configurations of all stages take."""
    out.mkdir(parents=True, exist_ok=True)
    updates = stage.updates(rows)
    return {
        "output_dir": str(out / STEPS_DIR),
        "max_steps": updates,
        "per_device_train_batch_size": stage.at_once,
        "gradient_accumulation_steps": stage.accumulation(processes()),
        "learning_rate": stage.rate,
        "lr_scheduler_type": stage.schedule,
        "warmup_steps": stage.warmup,
        "weight_decay": stage.weight_decay,
        "max_grad_norm": stage.clip,
        "bf16": torch.cuda.is_available(),
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": stage.checkpointing,
        "remove_unused_columns": False,
        "logging_steps": max(1, min(10, updates // 20)),
        "save_steps": stage.save_every,
        "save_total_limit": 2,
        "report_to": ["tensorboard", "wandb"] if wandb else ["tensorboard"],
        "disable_tqdm": quiet,
        "seed": stage.seed,
    }


def processes() -> int:
    """Return how many processes train together: a launcher says so in the environment."""
    import os

    return int(os.environ.get("WORLD_SIZE", "1"))


def run(trainer: Any, start: Start, stage: Stage, rows: Sequence[Prompt], out: Path, name: Any, resume: bool) -> None:
    """Train, from the last saved step with `resume`, and write the checkpoint with stamp, recipe and card."""
    trainer.add_callback(JsonLog(out / LOG_FILE))
    done = steps_done(out) if resume else 0
    trainer.train(resume_from_checkpoint=str(out / STEPS_DIR / f"checkpoint-{done}") if done else None)
    stamp = start.stamp.model_copy(
        update={
            "stage": name,
            "recipe": stage.name,
            "data_hash": digest(rows),
            "steps": start.stamp.steps + trainer.state.max_steps,
        }
    )
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        # Every process has a part of the weights: they are gathered by all and written by one, as float32.
        trainer.save_model(str(out))
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model)
        if stage.lora is not None:
            model = model.merge_and_unload()
        if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
            save(out, model, start.tokenizer, stamp, start.images)
        stamp.write(out)
        (out / RECIPE_FILE).write_text(yaml.safe_dump({name: stage.model_dump(mode="json")}, sort_keys=False))
        write_stage_card(out, stamp, len(rows))
    trainer.accelerator.wait_for_everyone()
