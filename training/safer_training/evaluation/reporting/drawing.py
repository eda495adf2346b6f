"""How plots look: one style, one colour and mark a target, told apart without colours, too."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from safer_training.evaluation.figures.estimate import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, without the yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo")
GREY = "#6b7280"
_LONGEST = 34
_STYLE: Any = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#374151",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "grid.color": "#e5e7eb",
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "safer",
    # Names of categories are names, not formulas.
    "text.parse_math": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the report; letters that the font lacks become boxes without a warning."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        yield


def to_svg(figure: "Figure") -> bytes:
    """Return a figure as SVG, the same bytes for the same figure."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def short(name: str) -> str:
    """Cut a long name in its middle."""
    name = " ".join(name.split())
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[:half]}…{name[-half + 1 :]}"


def whiskers(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Return how far intervals reach below and above, in per cent, as error bars take them."""
    below = [100 * max(0.0, one.value - one.low) for one in estimates]
    above = [100 * max(0.0, one.high - one.value) for one in estimates]
    return [below, above]
