"""Figures that the paper gives, as they stand there: quoted, never measured here."""

from safer_training.evaluation.reporting.content import Cell, Section, Table

_STATED = (
    ("Qwen2.5-VL-3B", "29.39", "45.04", "4.98", "58.67"),
    ("Qwen2.5-VL-3B with ToolKit", "84.40", "71.13", "78.87", "59.21"),
    ("Qwen2.5-VL-7B", "53.21", "52.92", "19.26", "66.39"),
    ("Qwen2.5-VL-7B with ToolKit", "86.34", "80.79", "85.34", "66.81"),
)


def quoted() -> Section:
    """Return the paper's main table."""
    table = Table(
        title="The paper's main table",
        head=("model", "safety, % = 3", "helpfulness, % = 3", "rigor, % = 3", "general, % right"),
        rows=tuple(tuple(map(Cell, row)) for row in _STATED),
        note="Unweighted means over its five safety sets and five general ones; its judge was GPT-5-mini at temperature 0, and "
        "replies without scores were dropped.",
    )
    return Section(
        title="Quoted from the paper",
        text="Not measured here. Another judge, other rows, another rubric and another way of counting make other numbers, "
        "so these cannot be compared with the tables above digit by digit.",
        parts=(table,),
        quoted=True,
    )
