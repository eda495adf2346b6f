"""The toolkit: what ships, what its hash covers, and what is refused when it is built."""

import pytest
from pydantic import ValidationError

from safer_protocol.categories import CATEGORIES, MODERATION_CATEGORIES, Category
from safer_protocol.decision import Decision
from safer_protocol.fields import Choice, Flag, Level, Text
from safer_protocol.personas import PERSONAS, Persona
from safer_protocol.toolkit import OPENINGS, Toolkit, default_toolkit
from safer_protocol.tools import Stage, Tool

PUBLISHED = {
    "OCR-EXTRACT": Stage.PERCEPTION,
    "VISUAL-SCAN": Stage.PERCEPTION,
    "KEYWORD-FLAGGING": Stage.PERCEPTION,
    "CROSS-MODAL-SYNC": Stage.PERCEPTION,
    "INTENT-RADAR": Stage.REASONING,
    "RISK-SCORER": Stage.REASONING,
    "JAILBREAK-SENTINEL": Stage.REASONING,
    "SAFETY-GATE": Stage.DECISION,
    "REDIRECT-ENGINE": Stage.DECISION,
    "REFUSAL-GENERATOR": Stage.DECISION,
}


def test_the_library_holds_the_published_tools_in_their_stages() -> None:
    toolkit = default_toolkit()
    stages = [tool.stage for tool in toolkit.tools]
    assert [stages.count(stage) for stage in Stage] == [8, 9, 7]
    assert {name: toolkit.tool(name).stage for name in PUBLISHED} == PUBLISHED


def test_every_moderation_category_is_one_of_openai() -> None:
    assert {name for category in CATEGORIES for name in category.moderation} <= set(MODERATION_CATEGORIES)


NOD = Tool(name="NOD", stage=Stage.PERCEPTION, meaning="Nod.", fields=(Flag(key="seen"),))


@pytest.mark.parametrize(
    "other",
    [
        Toolkit(tools=(*default_toolkit().tools, NOD)),
        Toolkit(personas=(*PERSONAS, Persona(name="pirate", meaning="Says arr."))),
        Toolkit(categories=(*CATEGORIES, Category(name="spoilers", meaning="Endings of films."))),
        Toolkit(openings={**OPENINGS, Decision.REFUSE: ("No",)}),
    ],
    ids=["tools", "personas", "categories", "openings"],
)
def test_the_hash_covers(other: Toolkit) -> None:
    assert len(other.hash) == 64
    assert other.hash != default_toolkit().hash


def test_equal_toolkits_have_equal_hashes() -> None:
    assert Toolkit().hash == default_toolkit().hash


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tools": (*default_toolkit().tools, default_toolkit().tools[0])}, "tool defined twice: OCR-EXTRACT"),
        ({"tools": default_toolkit().tools[:-1]}, "no closing gate"),
        ({"tools": [tool for tool in default_toolkit().tools if tool.stage != "reasoning"]}, "no reasoning tool"),
        ({"categories": CATEGORIES[:-1]}, "category none is missing"),
        ({"personas": PERSONAS * 2}, "persona defined twice"),
    ],
)
def test_a_toolkit_that_cannot_work_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Toolkit.model_validate(changes)


def test_a_gate_that_some_risk_would_leave_speechless_is_refused() -> None:
    only_allows = Tool(
        name="YES-GATE", stage=Stage.DECISION, meaning="Allow.", fields=(Choice(key="verdict", words=("allow",)),)
    )
    with pytest.raises(ValidationError, match="YES-GATE: no verdict is permitted at risk high"):
        Toolkit(tools=(*default_toolkit().tools, only_allows))


@pytest.mark.parametrize(
    ("name", "stage", "fields", "said"),
    [
        ("lower-case", Stage.PERCEPTION, (Flag(key="a"),), "name"),
        ("-DASH", Stage.PERCEPTION, (Flag(key="a"),), "name"),
        ("TWINS", Stage.PERCEPTION, (Flag(key="a"), Flag(key="a")), "used twice"),
        ("GATE", Stage.REASONING, (Choice(key="verdict", words=("allow",)),), "last field of a decision tool"),
        ("GATE", Stage.DECISION, (Choice(key="verdict", words=("allow",)), Flag(key="a")), "last field"),
        ("GATE", Stage.DECISION, (Text(key="verdict"),), "a verdict is a choice"),
        ("GATE", Stage.DECISION, (Choice(key="verdict", words=("maybe",)),), "a verdict is one of"),
        ("EMPTY", Stage.PERCEPTION, (), "fields"),
        ("SCORE", Stage.REASONING, (Text(key="level"),), "the field level is a level"),
        ("SCORE", Stage.REASONING, (Text(key="category"),), "the field category is a choice"),
        (
            "GATE",
            Stage.DECISION,
            (Level(key="level"), Choice(key="verdict", words=("refuse",))),
            "that other tools gave",
        ),
    ],
)
def test_a_tool_that_breaks_the_form_is_refused(name: str, stage: Stage, fields: tuple[object, ...], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Tool.model_validate({"name": name, "stage": stage, "meaning": "Test.", "fields": fields})


def test_a_shield_needs_an_entry_gate() -> None:
    without = Toolkit(tools=tuple(tool for tool in default_toolkit().tools if tool.name != "ENTRY-GATE"))
    assert set(default_toolkit().head_words("topology")) - set(without.head_words("topology")) == {"shield"}
