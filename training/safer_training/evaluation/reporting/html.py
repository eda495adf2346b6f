"""A report as one HTML file with its drawings in it: no script, and nothing is fetched."""

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from safer_training.evaluation.reporting.content import Plot, Section, Table

_TEMPLATES = Path(__file__).parent


def to_html(title: str, sections: Sequence[Section]) -> str:
    """Write sections; whatever they hold is shown as it is, never as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["emphasised"] = _emphasised
    environment.filters["data_url"] = _data_url
    environment.tests["table"] = lambda part: isinstance(part, Table)
    return environment.get_template("report.html.j2").render(title=title, sections=sections)


def _data_url(plot: Plot) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(plot.svg).decode()}"


def _emphasised(text: str) -> str:
    from markupsafe import Markup, escape

    return Markup(re.sub(r"\*([^*]+)\*", r"<em>\1</em>", str(escape(text))))
