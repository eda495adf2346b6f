"""`safer checkpoint` and `safer train`: commands that make checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safer_protocol.toolkit import default_toolkit
from safer_training.told import told

if TYPE_CHECKING:
    from safer_training.curriculum import StageName
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


Start = Annotated[
    Path, typer.Argument(help="The checkpoint to start from: a folder, or for `sft` a Qwen2.5-VL on the hub.")
]
Out = Annotated[Path, typer.Option(help="Folder for the trained checkpoint and its logs.")]
RecipeFile = Annotated[Path, typer.Option(help="A recipe file, or the name of one that ships.")]
Built = Annotated[Path, typer.Option(help="Folder of built rows: sft.jsonl, dpo.jsonl, grpo.jsonl, held_out.jsonl.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last saved step in the output folder.")]
Wandb = Annotated[bool, typer.Option("--wandb", help="Log to Weights & Biases too; its package must be installed.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and train nothing.")]


@train.command()
def sft(
    start: Start,
    out: Out,
    recipe: RecipeFile = Path("tiny-cpu"),
    data: Annotated[
        Path | None,
        typer.Option(
            help=f"Folder of built rows (sft.jsonl), or of requests ({PROMPTS_FILE}) that are shown anew each time."
        ),
    ] = None,
    tower: Annotated[
        Path | None, typer.Option(help="Folder with a vision tower from `safer train letters`, for shown rows.")
    ] = None,
    resume: Resume = False,
    wandb: Wandb = False,
    dry_run: DryRun = False,
) -> None:
    """Fine-tune a checkpoint on replies: built rows by the recipe's section `sft`, other rows by its section `shown`.

    Example: safer train sft out/untrained --out out/sft --recipe tiny-cpu --data DIR
    """
    if data is not None and (data / "sft.jsonl").is_file():
        return _stage("sft", start, out, recipe, data, resume, wandb, dry_run)
    if dry_run or wandb:
        raise typer.BadParameter(
            "only for built rows: the folder of --data has no sft.jsonl", param_hint="--dry-run, --wandb"
        )
    from safer_training import sft as stage
    from safer_training.recipe import read_recipe

    with told():
        stage.train(_rows(data), read_recipe(recipe), start, out, default_toolkit(), tower=tower, resume=resume)
    typer.echo(f"{out}: trained; measure it with `safer train evaluate {out}`")
    return None


@train.command()
def dpo(
    start: Start,
    out: Out,
    data: Built,
    recipe: RecipeFile = Path("tiny-cpu"),
    resume: Resume = False,
    wandb: Wandb = False,
    dry_run: DryRun = False,
) -> None:
    """Teach a checkpoint to prefer good replies over the same ones with a fault.

    Example: safer train dpo out/sft --out out/dpo --recipe tiny-cpu --data DIR
    """
    _stage("dpo", start, out, recipe, data, resume, wandb, dry_run)


@train.command()
def grpo(
    start: Start,
    out: Out,
    data: Built,
    recipe: RecipeFile = Path("tiny-cpu"),
    resume: Resume = False,
    wandb: Wandb = False,
    dry_run: DryRun = False,
) -> None:
    """Reinforce what a checkpoint writes itself by rewards.

    Example: safer train grpo out/dpo --out out/grpo --recipe tiny-cpu --data DIR
    """
    _stage("grpo", start, out, recipe, data, resume, wandb, dry_run)


@train.command(name="all")
def everything(
    out: Annotated[Path, typer.Option(help="Folder for all checkpoints and the report.")],
    data: Built,
    recipe: RecipeFile = Path("tiny-cpu"),
    sample: Annotated[int, typer.Option(help="Held-out rows on which every checkpoint is measured; 0 for none.")] = 200,
    wandb: Wandb = False,
    dry_run: DryRun = False,
) -> None:
    """Run all stages of a recipe and write one report; run it again to go on where it was stopped.

    Example: safer train all --recipe tiny-ci --data DIR --out out
    """
    from safer_training.curriculum import stages, train_all
    from safer_training.recipe import read_curriculum

    with told():
        read = read_curriculum(recipe)
        if dry_run:
            for name, _ in stages(read):
                _dry(name, Path(read.model or ""), recipe, data)
            return
        path = train_all(read, data, out, default_toolkit(), sample=sample, told=typer.echo, wandb=wandb)
    typer.echo(path)


def _stage(
    name: "StageName", start: Path, out: Path, recipe: Path, data: Path, resume: bool, wandb: bool, dry_run: bool
) -> None:
    from safer_training.curriculum import section, train_stage
    from safer_training.recipe import read_curriculum

    with told():
        if dry_run:
            return _dry(name, start, recipe, data)
        stage = section(read_curriculum(recipe), name)
        train_stage(stage, data, start, out, default_toolkit(), resume=resume, wandb=wandb)
    typer.echo(f"{out}: trained")
    return None


def _dry(name: "StageName", model: Path, recipe: Path, data: Path) -> None:
    from safer_training.curriculum import read_rows_of, section
    from safer_training.estimate import estimate
    from safer_training.recipe import read_curriculum
    from safer_training.rows import digest
    from safer_training.stage import processes

    stage, rows = section(read_curriculum(recipe), name), read_rows_of(name, data)
    typer.echo(f"{name}, data {digest(rows)[:12]}")
    for line in estimate(model, stage, rows, processes()).lines():
        typer.echo(f"  {line}")


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
