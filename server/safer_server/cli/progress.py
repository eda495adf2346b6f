"""What is shown of work that takes a while: compiling the grammar at a first start, and going through the audit log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def compile_bar() -> Iterator[Callable[[int, int], None]]:
    """Give a function that is told (blocks compiled, blocks to compile) and shows it on stderr.

    A terminal gets a bar, anything else one line; nothing is shown where the function is never called.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    task = bar.add_task("compiling the grammar, once for this vocabulary", start=False, total=None)

    def tell(done: int, total: int) -> None:
        if done == 0:
            bar.reset(task)
            if not console.is_terminal:
                console.print(f"compiling the grammar, once for this vocabulary: {total} blocks", soft_wrap=True)
        bar.update(task, completed=done, total=total)
        bar.start()

    try:
        yield tell
    finally:
        bar.stop()


@contextmanager
def record_bar(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Give a function that is told how many records are done, and shows it on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
