"""How a reply looks on a terminal, printed as it comes."""

import unicodedata

from rich.console import Console
from rich.text import Text

from safer_protocol.text import PLAN_OPEN

_WIDTH = 15


def printable(text: str) -> str:
    """Replace whatever could steer a terminal or turn its text round; line ends and tabs stay."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in "\n\t"
        else character
        for character in text
    )


class Display:
    """Prints one reply: plan, steps, answer, and how it ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._section = ""
        self._steps = 0
        self._delivering = False

    def reasoning(self, text: str) -> None:
        """Print lines of plan and trace."""
        for line in text.splitlines():
            if line.startswith("<"):
                self._section = line
            elif self._section == PLAN_OPEN:
                self._line("" if line.startswith("[") else "plan", line, "cyan")
            else:
                self._steps += 1
                self._line(f"step {self._steps}", line, "blue")

    def delivered(self, text: str, *, refused: bool) -> None:
        """Print a stretch of the answer or refusal."""
        style = "yellow" if refused else "green"
        if not self._delivering:
            self._console.print(Text(("refusal" if refused else "answer").ljust(_WIDTH), style=f"bold {style}"), end="")
        self._delivering = True
        self._console.print(Text(printable(text), style=style), end="", soft_wrap=True)

    def ended(self, outcome: str, decision: str | None, failure: str | None, milliseconds: float) -> None:
        """Print how it ended."""
        if self._delivering:
            self._console.print()
        verdict = f"decision {decision}, verified" if failure is None else f"failed closed: {failure}"
        self._line(outcome, f"{verdict}, {milliseconds:.0f} ms", "bold" if failure is None else "red")

    def _line(self, label: str, text: str, style: str) -> None:
        line = Text(f"{label.ljust(_WIDTH - 1)} ", style=f"bold {style}")
        self._console.print(line.append(printable(text), style="default"), soft_wrap=True)
