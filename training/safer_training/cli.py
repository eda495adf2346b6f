"""`safer checkpoint` and `safer train`: commands that make checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safer_protocol.toolkit import default_toolkit
from safer_training.errors import TrainingError

if TYPE_CHECKING:
    from safer_training.rows import Row

checkpoint = typer.Typer(help="Make checkpoints.", no_args_is_help=True)
train = typer.Typer(help="Train checkpoints.", no_args_is_help=True)

PROMPTS_FILE = "prompts.jsonl"

Data = Annotated[
    Path | None,
    typer.Option(help=f"Folder with {PROMPTS_FILE}; without it, rows come from the project's own generator alone."),
]


@checkpoint.callback()
def _checkpoint() -> None:
    """Make checkpoints."""


@train.callback()
def _train() -> None:
    """Train checkpoints."""


@checkpoint.command()
def build(
    out: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    size: Annotated[str, typer.Option(help="1m for tests, 5m for a model that can learn the protocol.")] = "5m",
    data: Data = None,
    seed: Annotated[int, typer.Option(help="Seed of the weights.")] = 0,
) -> None:
    """Build an untrained Qwen2.5-VL of a few million parameters, with a tokenizer made for the protocol.

    Example: safer checkpoint build out/untrained --size 5m
    """
    from safer_training import checkpoint as checkpoints

    if size not in checkpoints.SHAPES:
        raise typer.BadParameter(f"one of {', '.join(checkpoints.SHAPES)}", param_hint="--size")
    try:
        texts = [row.text for row in _rows(data)]
        checkpoints.build(out, size, default_toolkit(), texts, seed)
    except TrainingError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(f"{out}: an untrained {size} checkpoint, protocol {default_toolkit().hash[:12]}")


@train.command()
def sft(
    start: Annotated[Path, typer.Argument(help="The checkpoint to start from.")],
    out: Annotated[Path, typer.Option(help="Folder for the trained checkpoint and its logs.")],
    recipe: Annotated[Path, typer.Option(help="A recipe file, or the name of one that ships.")] = Path("tiny-cpu"),
    data: Data = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last saved step in the output folder.")
    ] = False,
) -> None:
    """Fine-tune a checkpoint on the teacher's replies to rows of requests.

    Example: safer train sft out/untrained --out out/sft --recipe tiny-cpu --data DIR
    """
    from safer_training import sft as stage
    from safer_training.recipe import read_recipe

    try:
        stage.train(_rows(data), read_recipe(recipe), start, out, default_toolkit(), resume=resume)
    except TrainingError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(f"{out}: trained; evaluate it with `safer train evaluate {out}`")


def _rows(data: Path | None) -> "list[Row]":
    """Return the training rows: the generator's, and those of a folder of data."""
    from safer_training.generate import generate
    from safer_training.rows import read_rows, split

    rows = read_rows(data / PROMPTS_FILE) if data else []
    return split([*rows, *generate()])["train"]
