"""Policies: what they may change, what is refused, and that the machine and the verifier follow them."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from reply_strategies import replies
from safer_protocol.constrain.cache import compile_blocks
from safer_protocol.constrain.machine import Machine
from safer_protocol.decision import Decision, Risk
from safer_protocol.errors import PolicyError
from safer_protocol.plan import Topology
from safer_protocol.policy import PolicyFile, apply_policy, default_policy
from safer_protocol.reply import Reply
from safer_protocol.text import parse, print_reply
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify
from safer_protocol.violation import Code
from sample import sample_plan, sample_reply

BASE = default_toolkit()

CLINIC = {
    "name": "clinic",
    "tools": {
        "add": [
            {
                "name": "DOSE-CHECK",
                "stage": "reasoning",
                "meaning": "Notice questions about doses.",
                "fields": [{"kind": "flag", "key": "dose"}, {"kind": "text", "key": "note", "budget": 12}],
            }
        ],
        "remove": ["OBJECT-INVENTORY", "LAYOUT-PARSE"],
    },
    "personas": {"add": [{"name": "nurse", "meaning": "Calm and practical."}], "remove": ["analyst"]},
    "categories": {"add": [{"name": "dosage", "meaning": "Doses of medicines."}], "remove": ["elections"]},
    "topologies": ["linear", "mesh"],
    "openings": {"refuse": ["Please ask your doctor about"]},
    "refuse_from": "high",
    "outcomes": {"dosage": ["safe_complete", "refuse"]},
}


def gate(*verdicts: str) -> dict[str, object]:
    """A gate that lists these verdicts."""
    field = {"kind": "choice", "key": "verdict", "words": verdicts}
    return {"name": "SECOND-GATE", "stage": "decision", "meaning": "Decide.", "fields": [field]}


def clinic(**changes: object) -> PolicyFile:
    return PolicyFile.model_validate({**CLINIC, **changes})


POLICY = apply_policy(clinic(), BASE)


def test_a_policy_has_its_own_hash_beside_the_protocols() -> None:
    assert POLICY.protocol_hash == BASE.hash == default_policy(BASE).policy_hash
    assert POLICY.policy_hash not in (BASE.hash, apply_policy(clinic(refuse_from=None), BASE).policy_hash)
    assert POLICY.untrained == ("DOSE-CHECK", "nurse", "dosage")


def test_an_added_category_can_be_scored_and_a_removed_one_cannot() -> None:
    words = POLICY.toolkit.tool("RISK-SCORER").fields[0].words  # type: ignore[union-attr]
    assert "dosage" in words
    assert "elections" not in words


@settings(max_examples=60)
@given(replies(POLICY.toolkit))
def test_replies_under_a_policy_round_trip(reply: Reply) -> None:
    text = print_reply(reply, POLICY.toolkit)
    assert parse(text, POLICY.toolkit).reply == reply
    assert verify(text, POLICY.toolkit).valid
    assert reply.plan.topology in ("linear", "mesh")


def test_the_machine_writes_what_the_policy_permits(machine: Machine) -> None:
    """Two policies side by side on one vocabulary: each machine writes replies that its own verifier accepts."""
    toolkit = POLICY.toolkit
    constrained = Machine(toolkit, machine.vocabulary, compile_blocks(toolkit, machine.vocabulary))
    foreign = 0
    for seed in range(150):
        chance, cursor, written = random.Random(seed), constrained.start(answer_tokens=5), bytearray()
        while not cursor.finished:
            written += cursor.advance(chance.choice(cursor.allowed().ids.tolist()))
        reply = parse(written.decode(), toolkit).reply
        assert reply is not None
        report = verify(reply, toolkit)
        assert report.valid
        scored = [call.fields for call in reply.trace if call.tool == "RISK-SCORER"]
        category = scored[-1]["category"] if scored else reply.plan.category
        risk = scored[-1]["level"] if scored else reply.plan.risk
        if category == "dosage":
            assert report.decision in (Decision.SAFE_COMPLETE, Decision.REFUSE)
        if risk in ("high", "critical"):
            assert report.decision is Decision.REFUSE
        foreign += not verify(reply, BASE).valid
    assert foreign > 50


def test_a_decision_outside_the_outcomes_is_a_violation() -> None:
    open_minded = apply_policy(clinic(outcomes={}, refuse_from=None), BASE).toolkit
    strict = apply_policy(clinic(outcomes={"dosage": ["refuse", "clarify"]}, refuse_from=None), BASE).toolkit
    text = """<plan>
category=dosage; risk=medium; persona=nurse; topology=linear; depth=brief
[KEYWORD-FLAGGING]
[DOSE-CHECK]
[SAFETY-GATE]
</plan>
<thinking>
[KEYWORD-FLAGGING]: flagged=no; terms=[]
[DOSE-CHECK]: dose=yes; note="a tea"
[SAFETY-GATE]: rationale=""; verdict=allow
</thinking>
<answer>
Two cups.
</answer>
"""
    assert verify(text, open_minded).valid
    assert [violation.code for violation in verify(text, strict).violations] == [Code.DECISION_AGAINST_RISK]


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"tools": {"remove": ["SAFETY-GATE"]}}, "", "no closing gate"),
        ({"tools": {"remove": ["NO-SUCH"]}}, "tools.remove.0", "no NO-SUCH to remove"),
        ({"tools": {"add": [BASE.tool("OCR-EXTRACT").model_dump()]}}, "tools.add.0.name", "exists already"),
        ({"personas": {"add": [{"name": "guardian", "meaning": "x"}]}}, "personas.add.0.name", "exists already"),
        ({"outcomes": {"weather": ["refuse"]}}, "outcomes.weather", "no such category"),
        ({"outcomes": {"dosage": ["clarify"]}}, "", "no verdict is permitted at risk high in category dosage"),
        ({"outcomes": {"dosage": []}}, "", "no verdict is permitted"),
        ({"categories": {"remove": ["none"]}, "outcomes": {}}, "", "the category none is missing"),
        ({"topologies": ["shield"], "tools": {"remove": ["ENTRY-GATE"]}}, "", "no topology can be filled"),
        ({"tools": {"remove": [t.name for t in BASE.tools if t.stage == "reasoning"]}}, "", "no reasoning tool"),
        ({"tools": {"remove": [t.name for t in BASE.tools if t.stage == "perception"]}}, "", "no perception tool"),
        ({"personas": {"remove": [persona.name for persona in BASE.personas]}}, "", "no persona"),
        ({"outcomes": {"none": ["allow"]}, "refuse_from": "none"}, "", "no verdict is permitted at risk none"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_with_its_key(changes: dict[str, object], key: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said) as caught:
        apply_policy(clinic(**changes), BASE)
    assert caught.value.key == key


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "default"},
        {"name": "Not A Name"},
        {"tool": {}},
        {"topologies": []},
        {"topologies": ["star"]},
        {"refuse_from": "huge"},
        {"openings": {"allow": ["Sure"]}},
        {"openings": {"refuse": []}},
        {"openings": {"refuse": ["No </answer>"]}},
        {"openings": {"refuse": ["No\nway"]}},
        {"openings": {"refuse": ["No\tway"]}},
        {"openings": {"refuse": ["No \ud800"]}},
        {"openings": {"refuse": [" No"]}},
        {"openings": {"refuse": ["No" * 101]}},
        {"outcomes": {"dosage": ["maybe"]}},
        {"tools": {"add": [gate("proceed", "allow")]}},
        {"tools": {"add": [gate("perhaps")]}},
        {"tools": {"add": [{"name": "lower", "stage": "reasoning", "meaning": "x", "fields": []}]}},
    ],
)
def test_a_file_with_a_wrong_value_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        clinic(**changes)


@given(st.sampled_from(["refuse_from", "topologies", "outcomes", "openings"]))
def test_every_part_may_be_left_out(key: str) -> None:
    rest = {name: value for name, value in CLINIC.items() if name != key}
    assert apply_policy(PolicyFile.model_validate(rest), BASE).policy_hash != POLICY.policy_hash


def some(names: Sequence[str], most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), unique=True, max_size=most)


DRASTIC = st.fixed_dictionaries(
    {"name": st.just("drastic")},
    optional={
        "tools": st.fixed_dictionaries(
            {"remove": some([tool.name for tool in BASE.tools], 23)},
            optional={"add": some(list(Decision), 4).filter(bool).map(lambda words: [gate(*words)])},
        ),
        "personas": st.fixed_dictionaries({"remove": some([persona.name for persona in BASE.personas], 6)}),
        "topologies": some(list(Topology), 5).filter(bool),
        "refuse_from": st.sampled_from(list(Risk)),
        "outcomes": st.dictionaries(st.sampled_from(list(BASE.category_by_name)), some(list(Decision), 4), max_size=3),
    },
)


@settings(max_examples=300)
@given(content=DRASTIC, seed=st.integers(0, 1000))
def test_a_policy_is_refused_or_every_walk_under_it_ends(content: dict[str, object], seed: int) -> None:
    try:
        toolkit = apply_policy(PolicyFile.model_validate(content), BASE).toolkit
    except PolicyError:
        return
    chance = random.Random(seed)
    for _ in range(5):
        reply = sample_reply(chance, toolkit, sample_plan(chance, toolkit))
        assert verify(reply, toolkit).violations == ()
