"""Direct preference optimisation with TRL's trainer: a good reply is preferred to the same one with a fault.

1. Rows are pairs; the fault is a wrong choice of tools or a wrong execution, so what differs is what a trace must get right.
2. The reference is the checkpoint that the stage starts from, or the model without its adapters.
3. The paper gives the rate; beta, batch and epochs are our choice.
"""

from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from safer_protocol.toolkit import Toolkit
from safer_training.batches import DpoBatches
from safer_training.checkpoint import load
from safer_training.data.records import DpoRow
from safer_training.recipe import DpoStage
from safer_training.stage import Resumable, adapters, arguments, begin, chosen, in_order, run


class PreferenceTrainer(Resumable, DPOTrainer):  # type: ignore[misc]
    """TRL's trainer, resumable."""


def train_dpo(
    rows: Sequence[DpoRow],
    folder: Path,
    stage: DpoStage,
    start: Path,
    out: Path,
    toolkit: Toolkit,
    *,
    resume: bool = False,
    quiet: bool = False,
    wandb: bool = False,
) -> None:
    """Train the checkpoint in `start` on pairs whose pictures lie below `folder`, and write the result to `out`."""
    taken, begun = chosen(rows, stage), begin(start, stage, toolkit)
    # A column `images` tells the trainer to leave the rows to the collator, as it must for pictures.
    order = in_order(taken, stage)
    numbers = Dataset.from_dict({"row": order, "images": [[]] * len(order)})
    trainer = PreferenceTrainer(
        model=begun.model,
        ref_model=None if stage.lora else load(start, toolkit)[0],
        args=DPOConfig(
            **arguments(stage, len(taken), out, quiet=quiet, wandb=wandb),
            train_sampling_strategy="sequential",
            beta=stage.beta,
            max_length=None,
        ),
        train_dataset=numbers,
        data_collator=DpoBatches(folder, begun.tokenizer, begun.images, taken),
        processing_class=begun.processor,
        peft_config=adapters(stage),
    )
    run(trainer, begun, stage, taken, out, "dpo", resume)
