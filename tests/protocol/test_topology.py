"""The law of the topologies: what a plan may list, what a walk may do, and that neither can get stuck."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reply_strategies import plans
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.toolkit import default_toolkit
from safer_protocol.topology import graph, plan_menu, plan_problem, rank

TOOLKIT = default_toolkit()


def plan(topology: str, *tools: str, depth: str = "full") -> Plan:
    return Plan(category="none", risk="low", persona="assistant", topology=topology, depth=depth, tools=tools)


LISTED = ("OCR-EXTRACT", "VISUAL-SCAN", "INTENT-RADAR", "RISK-SCORER", "REDIRECT-ENGINE", "SAFETY-GATE")


@pytest.mark.parametrize(
    ("topology", "walk", "expected"),
    [
        ("linear", "", "OCR-EXTRACT"),
        ("linear", "OCR-EXTRACT", "VISUAL-SCAN"),
        ("tree", "OCR-EXTRACT", "VISUAL-SCAN INTENT-RADAR RISK-SCORER"),
        ("tree", "OCR-EXTRACT VISUAL-SCAN", "INTENT-RADAR RISK-SCORER"),
        ("tree", "OCR-EXTRACT RISK-SCORER", "REDIRECT-ENGINE SAFETY-GATE"),
        ("tree", "OCR-EXTRACT RISK-SCORER REDIRECT-ENGINE", "SAFETY-GATE"),
        ("mesh", "OCR-EXTRACT", "VISUAL-SCAN INTENT-RADAR RISK-SCORER"),
        ("mesh", "OCR-EXTRACT INTENT-RADAR", "RISK-SCORER REDIRECT-ENGINE SAFETY-GATE"),
        ("mesh", "OCR-EXTRACT RISK-SCORER", "REDIRECT-ENGINE SAFETY-GATE"),
        ("loop", "OCR-EXTRACT RISK-SCORER", "REDIRECT-ENGINE SAFETY-GATE OCR-EXTRACT VISUAL-SCAN"),
        ("loop", "OCR-EXTRACT RISK-SCORER OCR-EXTRACT RISK-SCORER", "REDIRECT-ENGINE SAFETY-GATE"),
        ("loop", "OCR-EXTRACT RISK-SCORER REDIRECT-ENGINE", "SAFETY-GATE"),
    ],
)
def test_what_may_follow(topology: str, walk: str, expected: str) -> None:
    assert graph(TOOLKIT, plan(topology, *LISTED)).successors(walk.split()) == tuple(expected.split())


def test_a_shield_opens_with_its_entry_gate() -> None:
    shield = graph(TOOLKIT, plan("shield", "ENTRY-GATE", *LISTED))
    assert shield.successors([]) == ("ENTRY-GATE",)
    assert shield.successors(["ENTRY-GATE"]) == ("OCR-EXTRACT", "VISUAL-SCAN")


@pytest.mark.parametrize(
    ("topology", "tools", "depth", "said"),
    [
        ("linear", "OCR-EXTRACT RISK-SCORER", "full", "does not end in a closing gate"),
        ("linear", "OCR-EXTRACT SAFETY-GATE", "full", "SAFETY-GATE cannot be tool 2"),
        ("linear", "RISK-SCORER SAFETY-GATE", "full", "RISK-SCORER cannot be tool 1"),
        ("linear", "ENTRY-GATE OCR-EXTRACT RISK-SCORER SAFETY-GATE", "full", "ENTRY-GATE cannot be tool 1"),
        ("shield", "OCR-EXTRACT RISK-SCORER SAFETY-GATE", "full", "expected one of ENTRY-GATE"),
        ("mesh", "OCR-EXTRACT RISK-SCORER SAFETY-GATE CAUTION-WRITER", "full", "expected the end of the plan"),
        (
            "mesh",
            "OCR-EXTRACT VISUAL-SCAN INTENT-RADAR RISK-SCORER SAFETY-GATE",
            "brief",
            "RISK-SCORER cannot be tool 4",
        ),
        ("mesh", "", "full", "does not end in a closing gate"),
    ],
)
def test_a_list_that_breaks_the_law_is_explained(topology: str, tools: str, depth: str, said: str) -> None:
    problem = plan_problem(TOOLKIT, plan(topology, *tools.split(), depth=depth))
    assert problem is not None
    assert said in problem


@given(st.data(), st.sampled_from(Topology), st.sampled_from(Depth))
def test_a_plan_can_always_be_completed(data: st.DataObject, topology: Topology, depth: Depth) -> None:
    chosen: list[str] = []
    while not (menu := plan_menu(TOOLKIT, topology, depth, chosen)).may_end:
        assert menu.tools
        chosen.append(data.draw(st.sampled_from(menu.tools)))
    assert menu.tools == ()
    assert 3 <= len(chosen) <= depth.max_calls
    assert [rank(TOOLKIT.tool(name)) for name in chosen] == sorted(rank(TOOLKIT.tool(name)) for name in chosen)


@settings(max_examples=60)
@given(plans(TOOLKIT))
def test_no_walk_is_a_dead_end(drawn: Plan) -> None:
    """Go through every walk that the graph permits: each ends in the closing gate within the depth's calls."""
    walks = graph(TOOLKIT, drawn)
    open_walks: list[tuple[str, ...]] = [()]
    for _ in range(2000):
        if not open_walks:
            break
        walk = open_walks.pop()
        for name in walks.successors(walk):
            longer = (*walk, name)
            assert len(longer) <= Depth(drawn.depth).max_calls
            if not TOOLKIT.tool(name).is_closing_gate:
                assert walks.successors(longer)
                open_walks.append(longer)
