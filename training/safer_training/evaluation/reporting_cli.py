"""`safer eval judge`, `report` and `compare`: commands that make figures of runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safer_training.told import told

if TYPE_CHECKING:
    from safer_training.evaluation.item import Item
    from safer_training.evaluation.judging.run import Progress

reporting = typer.Typer()

RunFolder = Annotated[Path, typer.Argument(help="Folder of a run.")]


@reporting.command()
def judge(
    folder: RunFolder,
    judge_url: Annotated[str, typer.Option(help="An OpenAI-compatible server.")],
    judge_model: Annotated[str, typer.Option(help="Its model that judges.")],
    name: Annotated[str, typer.Option(help="What the scores are called; a second judge needs another name.")] = "judge",
    data: Annotated[Path | None, typer.Option(help="The suite's folder, where its pictures have moved.")] = None,
    suite: Annotated[Path | None, typer.Option(help="The suite's file, where it is one of your own.")] = None,
    without_pictures: Annotated[bool, typer.Option(help="Show the judge no pictures.")] = False,
    own_temperature: Annotated[
        bool, typer.Option(help="Leave the temperature to the server: some models refuse 0.")
    ] = False,
    price_in: Annotated[float | None, typer.Option(min=0, help="Price of a million tokens read.")] = None,
    price_out: Annotated[float | None, typer.Option(min=0, help="Price of a million tokens written.")] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Replies that are judged at the same time.")] = 8,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that the judge has for a reply.")] = 120.0,
) -> None:
    """Have a model score the replies of a run for safety, helpfulness and rigor; given again, it goes on.

    The judge's own steadiness is tested first, by seven short replies. The key is read from OPENAI_API_KEY.

    Example: safer eval judge runs/xstest --judge-url http://127.0.0.1:8000/v1 --judge-model MODEL
    """
    from safer_training.evaluation.folder import read_run
    from safer_training.evaluation.judging.http import HttpJudge
    from safer_training.evaluation.judging.pictures import pictures_of
    from safer_training.evaluation.judging.run import judge_run
    from safer_training.evaluation.judging.scores import JudgeCard

    if (price_in is None) is not (price_out is None):
        raise typer.BadParameter("give both prices or none", param_hint="--price-in, --price-out")
    temperature = None if own_temperature else 0.0
    with told():
        run = read_run(folder)
        card = JudgeCard(
            model=judge_model,
            endpoint=judge_url,
            temperature=temperature,
            sees_pictures=not without_pictures,
            price_in=price_in,
            price_out=price_out,
        )
        shown = None if without_pictures else pictures_of(run.items, _reload(suite or run.manifest.suite, data))
        asked = HttpJudge(judge_url, judge_model, temperature, timeout)
        try:
            with _bar("judging") as progress:
                counts = judge_run(run, name, asked, card, shown, at_once, progress)
        except KeyboardInterrupt:
            typer.echo(f"{folder}: stopped; the scores are kept, give the same command again to go on", err=True)
            raise typer.Exit(130) from None
    typer.echo(f"{folder}: {counts.scored} replies have scores; see them with `safer eval report {folder}`")
    if counts.no_reply:
        typer.echo(f"{counts.no_reply} items have no reply to judge")
    if counts.unscored:
        typer.echo(
            f"{counts.unscored} replies got no scores and count as failures; give the same command again to ask again"
        )
    if counts.moved:
        typer.echo(f"beware: this judge can be talked over ({', '.join(counts.moved)})")


@reporting.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs, of one or more suites and targets.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the report; of a single run, its own.")] = None,
) -> None:
    """Show runs side by side: report.html with plots, report.md and figures.json.

    Example: safer eval report runs/xstest-guard runs/xstest-refuse-all --out runs/report
    """
    from safer_training.evaluation.reporting.report import figures_of, write_report

    if out is None and len(folders) > 1:
        raise typer.BadParameter("where is the report of several runs to go?", param_hint="--out")
    with told():
        with _bar("figures") as progress:
            found = figures_of(folders, progress)
        path = write_report(found, out or folders[0])
    typer.echo(path)


@reporting.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Folder of a run.")],
    b: Annotated[Path, typer.Argument(help="Folder of another run on the same suite.")],
    out: Annotated[Path | None, typer.Option(help="Folder for compare.json and compare.md.")] = None,
) -> None:
    """Say where two runs differ on the rows that both were asked, with intervals and tests.

    Example: safer eval compare runs/before runs/after
    """
    from safer_training.evaluation.figures.compare import compare as compared
    from safer_training.evaluation.folder import read_run
    from safer_training.evaluation.reporting.comparison import comparison_markdown, write_comparison

    with told():
        found = compared(read_run(a), read_run(b))
        if out is not None:
            write_comparison(found, out)
    typer.echo(comparison_markdown(found))


def _reload(suite: str | Path, data: Path | None) -> "Callable[[], Sequence[Item]]":
    from safer_training.evaluation.suite import load_suite

    return lambda: load_suite(suite, data).load().items


@contextmanager
def _bar(name: str) -> "Iterator[Progress]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
