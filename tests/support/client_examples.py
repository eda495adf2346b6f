"""The examples of docs/clients.md, with the address and the model of a running server put in."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()


def examples(language: str, url: str = "http://127.0.0.1:8000") -> list[str]:
    """Return the code blocks of a language."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return [block.replace("http://127.0.0.1:8000", url).replace("tiny", "scripted") for block in blocks]
