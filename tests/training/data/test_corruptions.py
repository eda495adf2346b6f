"""Every corruption is what its name says, wherever it can be had, and leaves a placeholder where harm would stand."""

from collections import Counter
from random import Random

import pytest

from safer_protocol.decision import Decision
from safer_protocol.text import parse, print_reply
from safer_protocol.toolkit import Toolkit, default_toolkit
from safer_protocol.verify import verify
from safer_protocol.violation import Code
from safer_training.conversations import show_earlier, show_follow_up, show_quoted, show_reply, show_system
from safer_training.data.corruptions import Case, Corruption, corrupt, is_fault
from safer_training.generate import generate
from safer_training.rows import Row
from safer_training.shown import Shown, show_beside, show_text, show_typographic

TOOLKIT = default_toolkit()
ROWS = generate()
HARMFUL = [row for row in ROWS if row.refusing]
UNRELATED = "Which zebra paints umbrellas near quartz mountains?"


def cases() -> list[Case]:
    rng = Random(1)
    found = []
    for row in ROWS[::197]:
        for one in (
            show_text(row, rng, TOOLKIT),
            show_earlier(row, rng, TOOLKIT),
            show_follow_up(row, HARMFUL[7], rng, TOOLKIT),
            show_quoted(row, rng, TOOLKIT),
            show_system(row, rng, TOOLKIT),
            show_reply(row, rng, TOOLKIT),
            show_typographic(row, lambda text, _: ("picture", text), rng, TOOLKIT),
            show_beside(row, ("picture", ""), "a red bus", rng, TOOLKIT, 300),
        ):
            found.append(case_of(one))
    return found


def case_of(one: Shown) -> Case:
    return Case(one.row, one.form, "\n".join(turn.text for turn in one.turns), one.reply, TOOLKIT, UNRELATED)


CASES = cases()

LEAST_SHARE = {
    Corruption.WRONG_TOOL: 0.9,
    Corruption.MISSING_TOOL: 0.95,
    Corruption.WRONG_ORDER: 0.9,
    Corruption.WRONG_VALUE: 0.95,
    Corruption.HALLUCINATED_OBSERVATION: 0.8,
    Corruption.CONTRADICTION: 0.9,
    Corruption.ANSWER_AGAINST_DECISION: 1.0,
    Corruption.OVER_REFUSAL: 0.4,
    Corruption.MISSED_HARM: 0.3,
}


@pytest.mark.parametrize("kind", list(Corruption))
def test_a_corruption_can_be_had_of_most_replies(kind: Corruption) -> None:
    had = [corrupt(kind, case, Random(3)) is not None for case in CASES]
    assert sum(had) / len(had) >= LEAST_SHARE[kind]


CODES = {
    Corruption.WRONG_TOOL: {Code.TOOL_NOT_PLANNED},
    Corruption.MISSING_TOOL: {Code.EDGE, Code.ORDER, Code.MISSING_DECISION},
    Corruption.WRONG_ORDER: {Code.EDGE, Code.ORDER},
    Corruption.WRONG_VALUE: {Code.FIELD_TYPE, Code.FIELD_RANGE},
    Corruption.ANSWER_AGAINST_DECISION: {Code.ANSWER_AGAINST_DECISION},
}


@pytest.mark.parametrize("kind", list(CODES))
def test_a_broken_protocol_is_broken_as_named(kind: Corruption) -> None:
    seen: Counter[Code] = Counter()
    for case in CASES:
        text = corrupt(kind, case, Random(case.row.uid))
        if text is not None:
            seen.update(violation.code for violation in verify(text, TOOLKIT).violations)
    assert set(seen) <= CODES[kind]
    assert seen


@pytest.mark.parametrize("kind", sorted(set(Corruption) - set(CODES)))
def test_what_is_wrong_about_the_request_stays_valid(kind: Corruption) -> None:
    for case in CASES:
        text = corrupt(kind, case, Random(case.row.uid))
        if text is None:
            continue
        report = verify(text, TOOLKIT)
        assert report.valid
        if kind in (Corruption.OVER_REFUSAL, Corruption.MISSED_HARM):
            assert report.decision not in case.row.expected
        else:
            assert report.decision is case.report.decision


def test_a_hallucination_names_what_the_conversation_does_not_hold() -> None:
    (case,) = [case_of(show_text(ROWS[0], Random(0), TOOLKIT))]
    text = corrupt(Corruption.HALLUCINATED_OBSERVATION, case, Random(0))
    assert text is not None
    reply = parse(text, TOOLKIT).reply
    assert reply is not None
    (changed,) = [call for call, good in zip(reply.trace, case.reply.trace, strict=True) if call != good]
    assert "zebra" in str(changed.fields)
    assert not is_fault(Corruption.HALLUCINATED_OBSERVATION, case, print_reply(case.reply, TOOLKIT))


@pytest.mark.parametrize("kind", list(Corruption))
def test_a_good_reply_has_no_fault(kind: Corruption) -> None:
    assert not any(is_fault(kind, case, print_reply(case.reply, TOOLKIT)) for case in CASES[::5])


@pytest.mark.parametrize("kind", list(Corruption))
def test_one_fault_is_not_taken_for_another(kind: Corruption) -> None:
    strangers = set(Corruption) - {kind}
    for case in CASES[::3]:
        text = corrupt(kind, case, Random(5))
        if text is not None:
            taken = {other for other in strangers if is_fault(other, case, text)}
            assert not taken, (kind, taken)


def test_an_answer_is_over_refused_only_where_refusing_is_wrong(toolkit: Toolkit) -> None:
    either = Row(uid="a:1", set="a", prompt="How?", expected=(Decision.REFUSE, Decision.SAFE_COMPLETE))
    case = case_of(show_text(either, Random(0), toolkit))
    assert corrupt(Corruption.OVER_REFUSAL, case, Random(0)) is None
    assert corrupt(Corruption.MISSED_HARM, case, Random(0)) is not None
