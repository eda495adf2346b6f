"""The curriculum: all stages of a recipe, one after the other, and one report of what each of them changed.

1. The model is built, or taken from where the recipe says.
2. Each stage starts from the checkpoint of the one before; a stage whose checkpoint is there is not run again.
3. Every checkpoint, the first too, is measured on held-out rows; figures and curves go into `report.md`.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from safer_protocol.toolkit import Toolkit
from safer_training.checkpoint import SHAPES, build
from safer_training.data.records import DpoRow, GrpoRow, Prompt, SftRow, read_part
from safer_training.dpo import train_dpo
from safer_training.errors import RecipeError
from safer_training.grpo import train_grpo
from safer_training.measure import Measured, measure
from safer_training.recipe import Curriculum, DpoStage, GrpoStage, SftStage, Stage
from safer_training.replies import Writer
from safer_training.report import write_report
from safer_training.sft import train_sft
from safer_training.stage import LOG_FILE, processes
from safer_training.stamp import STAMP_FILE

StageName = Literal["sft", "dpo", "grpo"]


def stages(curriculum: Curriculum) -> Iterator[tuple[StageName, Stage]]:
    """Yield the stages that a recipe has, in order."""
    if curriculum.sft:
        yield "sft", curriculum.sft
    if curriculum.dpo:
        yield "dpo", curriculum.dpo
    if curriculum.grpo:
        yield "grpo", curriculum.grpo


def section(curriculum: Curriculum, name: StageName) -> Stage:
    """Return a stage of a recipe; raise `RecipeError` where it has none."""
    found = dict(stages(curriculum)).get(name)
    if found is None:
        raise RecipeError(f"{curriculum.name} has no section `{name}`")
    return found


def read_rows_of(name: StageName, data: Path) -> list[Prompt]:
    """Read the rows of a stage."""
    match name:
        case "sft":
            return list(read_part(data, "sft", SftRow))
        case "dpo":
            return list(read_part(data, "dpo", DpoRow))
        case "grpo":
            return list(read_part(data, "grpo", GrpoRow))


def train_stage(stage: Stage, data: Path, start: Path, out: Path, toolkit: Toolkit, **options: bool) -> None:
    """Run one stage on its part of a folder of built rows; options are `resume`, `quiet` and `wandb`."""
    match stage:
        case SftStage():
            train_sft(list(read_part(data, "sft", SftRow)), data, stage, start, out, toolkit, **options)
        case DpoStage():
            train_dpo(list(read_part(data, "dpo", DpoRow)), data, stage, start, out, toolkit, **options)
        case GrpoStage():
            train_grpo(list(read_part(data, "grpo", GrpoRow)), data, stage, start, out, toolkit, **options)
        case _:
            raise TypeError(type(stage))


def first_checkpoint(curriculum: Curriculum, data: Path, out: Path, toolkit: Toolkit) -> Path:
    """Return the folder or hub name that a recipe starts from; a model that is given by its size is built there first."""
    if curriculum.model is None:
        raise RecipeError(f"{curriculum.name} names no model to start from")
    if curriculum.model not in SHAPES:
        return Path(curriculum.model)
    built = out / "untrained"
    if not (built / STAMP_FILE).is_file():
        if processes() > 1:
            raise RecipeError(f"build the model first: safer checkpoint build {built} --size {curriculum.model}")
        texts = [turn.text for row in read_part(data, "sft", SftRow) for turn in row.turns(data)]
        build(built, curriculum.model, toolkit, texts)
    return built


def train_all(
    curriculum: Curriculum,
    data: Path,
    out: Path,
    toolkit: Toolkit,
    *,
    sample: int = 200,
    told: Callable[[str], None] = lambda line: None,
    **options: bool,
) -> Path:
    """Run the stages that are not done yet, measure each checkpoint on `sample` held-out rows, and return the report's path."""
    rows = list(read_part(data, "held_out", GrpoRow))[:sample]
    start = first_checkpoint(curriculum, data, out, toolkit)
    measured: dict[str, Measured | None] = {"start": None}
    if (start / STAMP_FILE).is_file():
        measured["start"] = _measured(start, rows, data, toolkit)
    logs: dict[str, list[dict[str, Any]]] = {}
    for name, stage in stages(curriculum):
        folder = out / name
        if not (folder / STAMP_FILE).is_file():
            told(f"{name}: from {start}")
            train_stage(stage, data, start, folder, toolkit, **{**options, "resume": True})
        logs[name] = [json.loads(line) for line in (folder / LOG_FILE).read_text().splitlines()]
        measured[name] = _measured(folder, rows, data, toolkit)
        start = folder
    return write_report(out, curriculum.name, toolkit, len(rows), measured, logs)


def _measured(checkpoint: Path, rows: list[GrpoRow], data: Path, toolkit: Toolkit) -> Measured | None:
    if not rows or processes() > 1:
        return None
    return measure(Writer(checkpoint, toolkit), rows, data)
