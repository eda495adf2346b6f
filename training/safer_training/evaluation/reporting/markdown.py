"""A report as Markdown."""

import re
from collections.abc import Sequence

from safer_training.evaluation.reporting.content import Cell, Plot, Section, Table


def to_markdown(title: str, sections: Sequence[Section], plots: str) -> str:
    """Write sections; `plots` is the folder of the drawings, as seen from the file."""
    lines = [f"# {escaped(title)}"]
    for section in sections:
        lines += ["", f"## {escaped(section.title)}"]
        mark = "> " if section.quoted else ""
        if section.text:
            lines += ["", f"{mark}{section.text}"]
        for part in section.parts:
            match part:
                case Table():
                    lines += ["", *(f"{mark}{line}".rstrip() for line in _table(part))]
                case Plot():
                    lines += ["", f"![{escaped(part.title)}]({plots}/{part.name}.svg)", "", part.note]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Take what Markdown or HTML would act upon for what it is."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~!$])", r"\\\1", flat)


def _table(table: Table) -> list[str]:
    lines = [f"**{escaped(table.title)}**", "", _row([escaped(name) for name in table.head])]
    lines.append(_row(["---" if place < table.names else "--:" for place in range(len(table.head))]))
    lines += [_row([_cell(cell) for cell in row]) for row in table.rows]
    return [*lines, "", table.note] if table.note else lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    return f"{escaped(cell.text)} {cell.interval}".rstrip()
