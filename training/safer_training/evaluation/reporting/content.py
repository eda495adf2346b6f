"""What a report consists of, before it is Markdown or HTML."""

from dataclasses import dataclass

from safer_training.evaluation.figures.estimate import Estimate


@dataclass(frozen=True)
class Cell:
    """A figure and its interval as they are shown."""

    text: str
    interval: str = ""


NOTHING = Cell("-")


@dataclass(frozen=True)
class Table:
    """Rows of cells below their headings; the first `names` columns hold names, the others figures."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    names: int = 1
    note: str = ""


@dataclass(frozen=True)
class Plot:
    """A drawing with what it shows in words."""

    name: str
    """Of its file."""
    title: str
    note: str
    """How to read it."""
    svg: bytes


@dataclass(frozen=True)
class Section:
    """A part of a report."""

    title: str
    text: str = ""
    parts: tuple[Table | Plot, ...] = ()
    quoted: bool = False
    """Whether it holds what others measured."""


def percent(estimate: Estimate | None) -> Cell:
    """Show a share in per cent."""
    if estimate is None:
        return NOTHING
    return Cell(f"{100 * estimate.value:.1f}", f"[{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]")


def number(estimate: Estimate | None, places: int = 2) -> Cell:
    """Show a figure as it is."""
    if estimate is None:
        return NOTHING
    return Cell(f"{estimate.value:.{places}f}", f"[{estimate.low:.{places}f}, {estimate.high:.{places}f}]")


def plain(value: object) -> Cell:
    """Show a name or a count."""
    match value:
        case None:
            return NOTHING
        case int() if not isinstance(value, bool):
            return Cell(f"{value:,}")
        case float():
            return Cell(f"{value:.3g}")
    return Cell(str(value))
