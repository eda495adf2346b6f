"""Group-relative policy optimisation with TRL's trainer, on replies that the policy writes under the mask.

1. For each prompt several replies are sampled; rewards are compared within the group.
2. With `constrained`, tokens are drawn from the model's probabilities p under the mask: q(t) = p(t) / sum of p over all that is
   allowed. The policy that serves is q, so q is what is trained: `_get_per_token_logps_and_entropies` replays each reply through
   the machine and takes the softmax over allowed tokens only, for the policy, for the policy that wrote, and for the reference.
   Ratios, clipping and KL are then those of q. A token without an alternative has q = 1 and no gradient: under p, a bad reply
   would make the model unlearn the grammar, and a good one spend its steps on what is forced anyway.
3. Without it, replies are sampled from p and most of them do not verify at first.
4. Departures from the released run: TRL adds 1e-4 and not 1e-6 to a group's deviation; outages are masked.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import LogitsProcessorList
from trl import GRPOConfig, GRPOTrainer

from safer_protocol.constrain.cache import compile_blocks
from safer_protocol.constrain.machine import Machine
from safer_protocol.constrain.processor import MachineLogitsProcessor
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.prompt import pictures
from safer_protocol.toolkit import Toolkit
from safer_training.data.records import GrpoRow
from safer_training.errors import RecipeError
from safer_training.judge import HttpJudge
from safer_training.prompts import to_messages
from safer_training.recipe import GrpoStage
from safer_training.rewards import mixture
from safer_training.stage import Resumable, adapters, arguments, begin, chosen, run


class PolicyTrainer(Resumable, GRPOTrainer):  # type: ignore[misc]
    """TRL's trainer, resumable; with a machine, its policy is the model under the mask."""

    machine: Machine | None = None

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **given: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return log-probabilities [rows, tokens] of completions under the mask, entropies if asked for, and no auxiliary loss."""
        logps, entropies = [], []
        size = batch_size or len(input_ids)
        for start in range(0, len(input_ids), size):
            end = min(start + size, len(input_ids))
            shown = picture_rows(given, start, end)
            some = (model, input_ids[start:end], attention_mask[start:end], logits_to_keep)
            if self.machine is not None:
                found, entropy = self._under_the_mask(*some, shown)
            else:
                # Pass by pass: TRL's own slices give the model an empty tensor where a pass has no picture and another one has.
                if "pixel_values" in shown:
                    shown["num_images"] = given["num_images"][start:end]
                found, entropy, _ = super()._get_per_token_logps_and_entropies(
                    *some, None, compute_entropy, compute_aux_loss, **shown
                )
            logps.append(found)
            entropies.append(entropy)
        return torch.cat(logps), torch.cat(entropies) if compute_entropy else None, None

    def _under_the_mask(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, shown: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """Return log-probabilities and entropies [rows, tokens] of completions, of the model under the mask."""
        assert self.machine is not None
        with self.accelerator.autocast():
            logits = model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                use_cache=False,
                logits_to_keep=logits_to_keep + 1,
                **shown,
            ).logits[:, :-1]
        written = input_ids[:, -logits_to_keep:]
        barred = barred_tokens(self.machine, written, logits.shape[-1], self.max_completion_length)
        log_q = (logits.float() / self.temperature).masked_fill(barred, float("-inf")).log_softmax(-1)
        entropy = -(log_q.exp() * log_q.masked_fill(barred, 0.0)).sum(-1)
        return log_q.gather(-1, written.unsqueeze(-1)).squeeze(-1), entropy


def picture_rows(given: dict[str, Any], start: int, end: int) -> dict[str, Any]:
    """Return the picture tensors of some rows; `num_images` says how many pictures each row has."""
    grid, counts = given.get("image_grid_thw"), given.get("num_images")
    if grid is None or counts is None:
        return {}
    first, last = sum(counts[:start]), sum(counts[:end])
    patches = grid.prod(-1)
    low, high = int(patches[:first].sum()), int(patches[:last].sum())
    return {
        "mm_token_type_ids": given["mm_token_type_ids"][start:end],
        **(
            {"pixel_values": given["pixel_values"][low:high], "image_grid_thw": grid[first:last]}
            if last > first
            else {}
        ),
    }


def barred_tokens(machine: Machine, written: Tensor, width: int, limit: int) -> Tensor:
    """Return [rows, tokens, width] whether a token was barred where a completion was written; behind its end all others are.

    What the machine would not have let through raises ValueError: then something else wrote it.
    """
    barred = torch.ones(*written.shape, width, dtype=torch.bool)
    for row, tokens in enumerate(written.tolist()):
        cursor = machine.start(limit=limit)
        for place, token in enumerate(tokens):
            if cursor.finished:
                barred[row, place, token] = False
                continue
            barred[row, place, torch.from_numpy(cursor.allowed().ids).long()] = False
            cursor.advance(token)
    return barred.to(written.device)


def constrain(generate: Callable[..., Any], machine: Machine, limit: int) -> Callable[..., Any]:
    """Wrap a model's `generate` so that every reply is written under the mask and closed within `limit` tokens."""

    def constrained(*args: Any, **kwargs: Any) -> Any:
        follower = LogitsProcessorList([MachineLogitsProcessor(machine, limit=limit)])
        return generate(*args, **kwargs, logits_processor=follower)

    return constrained


def train_grpo(
    rows: Sequence[GrpoRow],
    folder: Path,
    stage: GrpoStage,
    start: Path,
    out: Path,
    toolkit: Toolkit,
    *,
    resume: bool = False,
    quiet: bool = False,
    wandb: bool = False,
) -> None:
    """Train the checkpoint in `start` on prompts whose pictures lie below `folder`, and write the result to `out`."""
    taken, begun = chosen(rows, stage), begin(start, stage, toolkit)
    shared = arguments(stage, len(taken), out, quiet=quiet, wandb=wandb)
    machine = machine_of(toolkit, begun.tokenizer) if stage.constrained else None
    if machine is not None:
        if machine.least() > stage.completion:
            raise RecipeError(f"completion: a reply may need {machine.least()} tokens")
        begun.model.generate = constrain(begun.model.generate, machine, stage.completion)
    judge = HttpJudge(**stage.judge.model_dump()) if stage.judge else None
    trainer = PolicyTrainer(
        model=begun.model,
        reward_funcs=[mixture(stage.rewards, toolkit, judge)],
        args=GRPOConfig(
            **shared,
            num_generations=stage.generations,
            steps_per_generation=shared["gradient_accumulation_steps"] * stage.rollout_updates,
            max_completion_length=stage.completion,
            temperature=stage.temperature,
            beta=stage.kl,
            epsilon=stage.clip_low,
            epsilon_high=stage.clip_high,
            delta=stage.dual_clip,
            loss_type="dapo",
            use_vllm=stage.vllm is not None,
            **({"vllm_mode": "server", "vllm_server_base_url": stage.vllm} if stage.vllm else {}),
        ),
        train_dataset=prompts(taken, folder),
        processing_class=begun.processor,
        peft_config=adapters(stage),
    )
    trainer.machine = machine
    run(trainer, begun, stage, taken, out, "grpo", resume)


def machine_of(toolkit: Toolkit, tokenizer: Any) -> Machine:
    """Compile the mask machine of a tokenizer."""
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    return Machine(toolkit, vocabulary, compile_blocks(toolkit, vocabulary))


def prompts(rows: Sequence[GrpoRow], folder: Path) -> Dataset:
    """Return the columns that the trainer and the rewards read; pictures are opened when a row is drawn."""

    def shown(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        some = [rows[number] for number in batch["row"]]
        turns = [row.turns(folder) for row in some]
        return {
            "prompt": [to_messages(one) for one in turns],
            "request": [one[-1].text for one in turns],
            "images": [pictures(one) for one in turns],
            "expected": [list(row.expected) for row in some],
            "category": [row.category for row in some],
            "answer": [row.answer for row in some],
        }

    return Dataset.from_dict({"row": list(range(len(rows)))}).with_transform(shown)
