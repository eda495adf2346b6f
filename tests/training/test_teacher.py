"""The teacher: every reply verifies, agrees with the labels, and its decision can be read off the head of its plan."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safer_protocol.decision import Decision
from safer_protocol.plan import Depth, Topology
from safer_protocol.text import parse, print_reply
from safer_protocol.toolkit import Toolkit, default_toolkit
from safer_protocol.verify import verify
from safer_training.conversations import show_conversation, show_follow_up
from safer_training.generate import generate
from safer_training.rows import Row
from safer_training.shown import show_dialogue, show_picture, show_reading, show_text
from safer_training.teacher import Form, clip, decision_of, judge, teach

ROWS = generate()
FORMS: tuple[Form, ...] = ("text", "typographic", "photo", "dialogue", "earlier", "quoted", "system", "reply")


@pytest.mark.parametrize("form", FORMS)
def test_every_reply_verifies_as_text_and_decides_as_labelled(form: Form, rows: list[Row], toolkit: Toolkit) -> None:
    for row in rows[::6]:
        reply = teach(row, form, toolkit)
        report = verify(print_reply(reply, toolkit), toolkit)
        assert report.valid, (row.uid, report.violations)
        assert report.decision in row.expected
        assert report.decision is decision_of(reply.plan.category, reply.plan.risk)


@pytest.mark.parametrize("depth", list(Depth))
def test_a_wanted_depth_is_kept(depth: Depth, rows: list[Row], toolkit: Toolkit) -> None:
    for row in rows[::25]:
        for form in FORMS:
            assert teach(row, form, toolkit, depth).plan.depth == depth


def test_the_teacher_is_deterministic(rows: list[Row], toolkit: Toolkit) -> None:
    assert [teach(row, "text", toolkit) for row in rows[:50]] == [teach(row, "text", toolkit) for row in rows[:50]]


def test_all_topologies_decisions_and_personas_occur(rows: list[Row], toolkit: Toolkit) -> None:
    replies = [teach(row, form, toolkit) for row in rows[::11] for form in FORMS]
    assert {reply.plan.topology for reply in replies} == set(Topology)
    assert {decision_of(reply.plan.category, reply.plan.risk) for reply in replies} == set(Decision)
    assert {reply.plan.persona for reply in replies} == {persona.name for persona in toolkit.personas}


@given(st.text(max_size=300), st.sampled_from(list(Decision)), st.sampled_from(FORMS))
def test_any_text_at_all_gets_a_reply_that_verifies(text: str, first: Decision, form: Form) -> None:
    row = Row(uid=f"any:{text}", set="any", prompt=text, expected=(first,))
    toolkit = default_toolkit()
    reply = teach(row, form, toolkit)
    assert parse(print_reply(reply, toolkit), toolkit).reply == reply
    assert judge(row).decision in (first, Decision.SAFE_COMPLETE, Decision.REFUSE)


@given(st.text(max_size=400), st.integers(1, 60))
def test_clipped_texts_fit_and_hold_nothing_forbidden(text: str, tokens: int) -> None:
    clipped = clip(text, tokens)
    assert not set(clipped) & set('"\\<\n')
    assert len(clipped.split()) <= tokens


@given(st.integers(0, 10_000))
def test_however_a_row_is_shown_its_reply_verifies(seed: int) -> None:
    rng, toolkit = Random(seed), default_toolkit()
    rows = ROWS[seed % 50 :: 97]
    row = rows[0]
    shown = (
        show_text(row, rng, toolkit),
        show_dialogue(row, rows, rng, toolkit),
        show_picture(row, lambda text, _: ("picture", text), rng, toolkit),
        show_reading(row, lambda text, _: ("picture", text), rng, toolkit),
        show_conversation(row, rows, rng, toolkit),
        show_follow_up(row, rows[-1], rng, toolkit),
    )
    for one in shown:
        assert one.turns[-1].role == ("assistant" if one.form == "reply" else "user")
        assert verify(one.reply, toolkit).valid
