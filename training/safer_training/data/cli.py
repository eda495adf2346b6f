"""`safer data`: commands that make training data."""

import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, assert_never

import typer

from safer_protocol.toolkit import default_toolkit
from safer_training.told import told

if TYPE_CHECKING:
    from openai import OpenAI

    from safer_training.data.judge import Filter
    from safer_training.data.layouts import Found
    from safer_training.data.teachers import Teacher

data = typer.Typer(help="Make training data.", no_args_is_help=True)

_TIMEOUT = 300.0


class Source(StrEnum):
    """Folders that can be imported."""

    FACTS = "facts"
    OWN = "own"
    BEAVERTAILS_V = "beavertails-v"
    SPA_VL = "spa-vl"
    MM_SAFETYBENCH = "mm-safetybench"
    VLGUARD = "vlguard"


class Grammar(StrEnum):
    """How a teacher's server takes a grammar."""

    LARK = "lark"
    EBNF = "ebnf"
    NONE = "none"


Out = Annotated[Path, typer.Option(help="The data folder, where everything is kept.")]


@data.callback()
def _data() -> None:
    """Make training data."""


@data.command("import")
def import_source(
    source: Annotated[Source, typer.Argument(help="The layout of the folder; `own` needs none.")],
    folder: Annotated[Path | None, typer.Argument(help="The folder as it was downloaded.")] = None,
    out: Out = Path("data"),
) -> None:
    """Import a source: its rows and pictures go into the data folder; doing it again replaces them.

    Example: safer data import vlguard ~/downloads/VLGuard --out data
    """
    from rich.progress import track

    from safer_training.data.pool import import_rows

    if folder is None and source is not Source.OWN:
        raise typer.BadParameter(f"where is the folder of {source}?", param_hint="FOLDER")
    with told():
        found = track(_found(source, folder or Path()), str(source), total=None)
        number = import_rows(source, found, out)
    typer.echo(f"{out}: {number} rows of {source}; go on with `safer data build {out}` or another source")


@data.command("import-jsonl")
def import_jsonl(
    file: Annotated[Path, typer.Argument(help="A JSONL file; pictures are paths beside it.")],
    columns: Annotated[Path, typer.Argument(help="A YAML file that says which column holds what.")],
    out: Out = Path("data"),
) -> None:
    """Import any JSONL file by a map of its columns and labels.

    Example: safer data import-jsonl rows.jsonl columns.yaml --out data
    """
    from safer_training.data.columns import read_columns, read_map
    from safer_training.data.pool import import_rows

    with told():
        chosen = read_map(columns)
        number = import_rows(chosen.name, read_columns(file, chosen), out)
    typer.echo(f"{out}: {number} rows of {chosen.name}")


@data.command()
def build(
    folder: Annotated[Path, typer.Argument(help="A data folder with imported sources.")],
    sft: Annotated[int, typer.Option(min=1, help="Rows with replies.")] = 6000,
    dpo: Annotated[int, typer.Option(min=0, help="Preference pairs.")] = 18654,
    grpo: Annotated[int, typer.Option(min=1, help="Prompts with expected decisions.")] = 6000,
    held_out: Annotated[int, typer.Option(min=1, help="Rows for the exam.")] = 1000,
    teacher_url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server whose model writes replies.")
    ] = None,
    teacher_model: Annotated[str, typer.Option(help="The teacher's model.")] = "",
    grammar: Annotated[Grammar, typer.Option(help="What its server constrains by.")] = Grammar.LARK,
    judge_url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server whose model filters replies.")
    ] = None,
    judge_model: Annotated[str, typer.Option(help="The judge's model.")] = "",
    judge_least: Annotated[int, typer.Option(min=1, max=10, help="The lowest mark that a reply may have.")] = 7,
    seed: Annotated[int, typer.Option(help="Seed of every choice.")] = 0,
) -> None:
    """Build the SFT, DPO, GRPO and held-out rows; given again after an interruption, it goes on.

    Without a teacher, replies are written by rule from labels and facts. Keys are read from OPENAI_API_KEY.

    Example: safer data build data
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from safer_training.data.allot import Sizes, prepare
    from safer_training.data.build import Builder
    from safer_training.data.pool import read_pool, require_room

    teacher, judge = _teacher(teacher_url, teacher_model, grammar), _judge(judge_url, judge_model, judge_least)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with told(), Bars(*columns) as bars:
        require_room(folder)
        rows = prepare(read_pool(folder))
        tasks = {part: bars.add_task(part, total=None) for part in ("sft", "dpo", "grpo", "held_out")}

        def progress(part: str, done: int, wanted: int) -> None:
            bars.update(tasks[part], completed=done, total=wanted)

        sizes = Sizes(sft=sft, dpo=dpo, grpo=grpo, held_out=held_out)
        card = Builder(folder, default_toolkit(), teacher, judge, seed, progress).build(rows, sizes)
    counts = ", ".join(f"{part} {number}" for part, number in card.rows.items())
    removed = ", ".join(f"{number} {reason}" for reason, number in card.removed.items())
    typer.echo(f"{folder}: {counts}; removed {removed}")
    made = "replies made by templates: all of them" if card.template_share == 1.0 else f"replies by {card.teacher}"
    typer.echo(f"{made}; see {folder}/README.md")


@data.command()
def check(folder: Annotated[Path, typer.Argument(help="A built data folder.")]) -> None:
    """Check a data set: hashes, pictures, the protocol, and every reply by the verifier.

    Example: safer data check data
    """
    from safer_training.data.check import check as checked

    with told():
        number = checked(folder, default_toolkit())
    typer.echo(f"{folder}: {number} rows are as its card says")


def _found(source: Source, folder: Path) -> "Iterator[Found]":
    from safer_training.data import layouts
    from safer_training.data.facts import read_facts, read_own

    match source:
        case Source.FACTS:
            return read_facts(folder)
        case Source.OWN:
            return read_own()
        case Source.BEAVERTAILS_V:
            return layouts.read_beavertails_v(folder)
        case Source.SPA_VL:
            return layouts.read_spa_vl(folder)
        case Source.MM_SAFETYBENCH:
            return layouts.read_mm_safetybench(folder)
        case Source.VLGUARD:
            return layouts.read_vlguard(folder)
    assert_never(source)


def _teacher(url: str | None, model: str, grammar: Grammar) -> "Teacher":
    from safer_training.data.teachers import ModelTeacher, TemplateTeacher

    toolkit = default_toolkit()
    if url is None:
        return TemplateTeacher(toolkit)
    if not model:
        raise typer.BadParameter("which model of the server teaches?", param_hint="--teacher-model")
    return ModelTeacher(_client(url), model, toolkit, grammar.value)


def _judge(url: str | None, model: str, least: int) -> "Filter | None":
    from safer_training.data.judge import Filter
    from safer_training.judge import HttpJudge

    if url is None:
        return None
    if not model:
        raise typer.BadParameter("which model of the server judges?", param_hint="--judge-model")
    return Filter(HttpJudge(url, model), model, least)


def _client(url: str) -> "OpenAI":
    from openai import OpenAI

    # Local servers want no key, and the client wants one.
    return OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY") or "none", timeout=_TIMEOUT)
