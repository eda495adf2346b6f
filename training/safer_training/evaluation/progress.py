"""The progress bar of a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from safer_training.evaluation.run import Progress


@contextmanager
def shown_progress(name: str) -> Iterator[Callable[[Progress], None]]:
    """Show how far a run is, with the errors so far."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[errors]} errors"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=None, errors=0)

        def told(progress: Progress) -> None:
            done = progress.replied + progress.errors
            bars.update(task, completed=done, total=progress.wanted, errors=progress.errors)

        yield told
