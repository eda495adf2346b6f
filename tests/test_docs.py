"""The documentation of the protocol names everything that the protocol has."""

from pathlib import Path

import pytest

from safer_protocol.plan import Depth, Topology
from safer_protocol.toolkit import default_toolkit
from safer_protocol.violation import Code

PROTOCOL = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()
TOOLKIT = default_toolkit()


@pytest.mark.parametrize(
    "row",
    [
        *(f"| {tool.name} | {tool.stage} | {tool.meaning} |" for tool in TOOLKIT.tools),
        *(f"| {category.name} | {category.meaning} |" for category in TOOLKIT.categories),
        *(f"| {persona.name} | {persona.meaning} |" for persona in TOOLKIT.personas),
        *(f"| {topology} | " for topology in Topology),
        *(f"| {depth} | {depth.max_calls} |" for depth in Depth),
        *(f"| {code} | " for code in Code),
    ],
)
def test_the_protocol_page_has_a_row_for(row: str) -> None:
    assert row in PROTOCOL
