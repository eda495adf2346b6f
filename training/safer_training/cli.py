"""`safer checkpoint` and `safer train`: commands that make checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safer_protocol.toolkit import default_toolkit
from safer_training.told import told

if TYPE_CHECKING:
    from safer_training.rows import Row, Side

checkpoint = typer.Typer(help="Make checkpoints.", no_args_is_help=True)
train = typer.Typer(help="Train checkpoints.", no_args_is_help=True)

PROMPTS_FILE, PICTURES_FILE = "prompts.jsonl", "benign_images.jsonl"

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
    with told():
        texts = [row.text for row in _rows(data)]
        checkpoints.build(out, size, default_toolkit(), texts, seed)
    typer.echo(f"{out}: an untrained {size} checkpoint, protocol {default_toolkit().hash[:12]}")


@train.command()
def letters(
    start: Annotated[Path, typer.Argument(help="The checkpoint whose vision tower is taught.")],
    out: Annotated[Path, typer.Option(help="Folder for the tower; training goes on from what lies there.")],
    data: Data = None,
    steps: Annotated[int, typer.Option(help="Steps in all.")] = 3500,
) -> None:
    """Teach the vision tower to say which characters each part of a picture holds.

    Example: safer train letters out/untrained --out out/tower
    """
    from safer_training import letters as stage
    from safer_training.checkpoint import load

    with told():
        model, _, _ = load(start, default_toolkit())
        stage.train_letters(
            model.model.visual,
            [row.text for row in _rows(data)],
            out,
            stage.LettersRecipe(steps=steps),
            photos=_photos(data),
        )
    typer.echo(f"{out}: a vision tower for `safer train sft --tower {out}`")


@train.command()
def sft(
    start: Annotated[Path, typer.Argument(help="The checkpoint to start from.")],
    out: Annotated[Path, typer.Option(help="Folder for the trained checkpoint and its logs.")],
    recipe: Annotated[Path, typer.Option(help="A recipe file, or the name of one that ships.")] = Path("tiny-cpu"),
    data: Data = None,
    tower: Annotated[Path | None, typer.Option(help="Folder with a vision tower from `safer train letters`.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last saved step in the output folder.")
    ] = False,
) -> None:
    """Fine-tune a checkpoint on the teacher's replies to rows of requests.

    Example: safer train sft out/untrained --out out/sft --recipe tiny-cpu --data DIR
    """
    from safer_training import sft as stage
    from safer_training.recipe import read_recipe

    with told():
        stage.train(_rows(data), read_recipe(recipe), start, out, default_toolkit(), tower=tower, resume=resume)
    typer.echo(f"{out}: trained; measure it with `safer train evaluate {out}`")


@train.command()
def evaluate(
    trained: Annotated[Path, typer.Argument(help="The checkpoint to measure; its model card is written into it.")],
    data: Data = None,
    sample: Annotated[int, typer.Option(help="Replies that are written to the end and verified.")] = 300,
) -> None:
    """Measure a checkpoint on rows that it never saw, beside simple baselines, and write its model card.

    Example: safer train evaluate out/sft --data DIR
    """
    from safer_training import evaluate as stage
    from safer_training.card import write_card
    from safer_training.replies import Writer

    with told():
        writer = Writer(trained, default_toolkit())
        found = stage.evaluate(writer, _sides(data), data, default_toolkit(), sample)
    write_card(trained, writer.stamp, found)
    typer.echo(stage.to_markdown(found))


def _sides(data: Path | None) -> "dict[Side, list[Row]]":
    """Return the rows of the generator, and those of a folder of data, split."""
    from safer_training.generate import generate
    from safer_training.rows import read_rows, split

    return split([*(read_rows(data / PROMPTS_FILE) if data else []), *generate()])


def _rows(data: Path | None) -> "list[Row]":
    return _sides(data)["train"]


def _photos(data: Path | None) -> list[Path]:
    """Return pictures without writing, which teach the tower what no letter looks like."""
    from safer_training.rows import read_rows

    if data is None:
        return []
    rows = read_rows(data / PICTURES_FILE)
    return [data / str(row.image) for row in rows if row.set != "noto_emoji"]
