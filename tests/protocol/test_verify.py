"""Every single corruption of a valid reply is caught under its own code."""

from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reply_strategies import replies
from safer_protocol.decision import Decision
from safer_protocol.fields import Choice, Flag, Level, Score, Text, Texts, Value
from safer_protocol.plan import HEAD_KEYS, Plan
from safer_protocol.reply import Reply
from safer_protocol.text import MAX_VIOLATIONS, parse, print_reply
from safer_protocol.toolkit import default_toolkit
from safer_protocol.tools import VERDICT_KEY
from safer_protocol.topology import graph, rank
from safer_protocol.trace import Call
from safer_protocol.verify import opening_agrees, verify
from safer_protocol.violation import Code

TOOLKIT = default_toolkit()
Draw = st.DataObject
Corruption = Callable[[Reply, Draw], Reply]


def with_plan(reply: Reply, **changes: object) -> Reply:
    return reply.model_copy(update={"plan": reply.plan.model_copy(update=changes)})


def with_call(reply: Reply, step: int, fields: dict[str, Value]) -> Reply:
    trace = list(reply.trace)
    trace[step] = Call(tool=trace[step].tool, fields=fields)
    return reply.model_copy(update={"trace": tuple(trace)})


def with_names(reply: Reply, names: list[str]) -> Reply:
    """Replace the walk; every call gets the fields of a call of that tool in the reply, or plausible ones."""
    fields = {call.tool: call.fields for call in reply.trace}
    return reply.model_copy(
        update={"trace": tuple(Call(tool=name, fields=fields.get(name) or plausible(name)) for name in names)}
    )


def plausible(name: str) -> dict[str, Value]:
    fields: dict[str, Value] = {}
    for field in TOOLKIT.tool(name).fields:
        match field:
            case Flag():
                fields[field.key] = False
            case Level():
                fields[field.key] = "medium"
            case Choice():
                fields[field.key] = field.words[0]
            case Score():
                fields[field.key] = 50
            case Text():
                fields[field.key] = ""
            case Texts():
                fields[field.key] = ()
    return fields


def pick(data: Draw, reply: Reply, kinds: tuple[type, ...]) -> tuple[int, str]:
    """Choose a call and one of its fields of the given kinds."""
    found = [
        (step, field.key)
        for step, call in enumerate(reply.trace)
        for field in TOOLKIT.tool(call.tool).fields
        if isinstance(field, kinds) and field.key != VERDICT_KEY
    ]
    assume(found)
    return data.draw(st.sampled_from(found))


def names_of(reply: Reply) -> list[str]:
    return [call.tool for call in reply.trace]


def unknown_plan_word(reply: Reply, data: Draw) -> Reply:
    return with_plan(reply, **{data.draw(st.sampled_from(HEAD_KEYS)): "nonsense"})


def plan_without_gate(reply: Reply, data: Draw) -> Reply:
    return with_plan(reply, tools=reply.plan.tools[:-1])


def plan_out_of_order(reply: Reply, data: Draw) -> Reply:
    return with_plan(reply, tools=reply.plan.tools[::-1])


def plan_with_twins(reply: Reply, data: Draw) -> Reply:
    return with_plan(reply, tools=(reply.plan.tools[0], *reply.plan.tools))


def plan_with_stranger(reply: Reply, data: Draw) -> Reply:
    return with_plan(reply, tools=(*reply.plan.tools[:-1], "COINED-TOOL", reply.plan.tools[-1]))


def call_of_stranger(reply: Reply, data: Draw) -> Reply:
    step = data.draw(st.integers(0, len(reply.trace) - 1))
    trace = (*reply.trace[:step], Call(tool="COINED-TOOL", fields={}), *reply.trace[step:])
    return reply.model_copy(update={"trace": trace})


def call_not_planned(reply: Reply, data: Draw) -> Reply:
    other = data.draw(st.sampled_from([tool.name for tool in TOOLKIT.tools if tool.name not in reply.plan.tools]))
    step = data.draw(st.integers(0, len(reply.trace) - 1))
    names = names_of(reply)
    return with_names(reply, [*names[:step], other, *names[step:]])


def call_twice(reply: Reply, data: Draw) -> Reply:
    assume(reply.plan.topology != "loop" and len(reply.trace) >= 2)
    step = data.draw(st.integers(0, len(reply.trace) - 2))
    names = names_of(reply)
    return with_names(reply, [*names[: step + 1], names[step], *names[step + 1 :]])


def stages_swapped(reply: Reply, data: Draw) -> Reply:
    """Let the walk begin with its second tool, so that the first comes where it may not."""
    names = names_of(reply)
    assume(len(names) >= 3 and rank(TOOLKIT.tool(names[1])) != rank(TOOLKIT.tool(names[0])))
    return with_names(reply, [names[1], names[0], *names[2:]])


def chain_with_a_gap(reply: Reply, data: Draw) -> Reply:
    reply = data.draw(replies(TOOLKIT, topology="linear"))  # another one: few of all would do
    step = data.draw(st.integers(1, len(reply.trace) - 2))
    names = names_of(reply)
    return with_names(reply, names[:step] + names[step + 1 :])


def too_many_calls(reply: Reply, data: Draw) -> Reply:
    """Loop back so late that the walk can no longer end within the depth."""
    looping = with_plan(reply, topology="loop", depth="brief", tools=("OCR-EXTRACT", "INTENT-RADAR", "SAFETY-GATE"))
    return with_names(looping, ["OCR-EXTRACT", "INTENT-RADAR", "OCR-EXTRACT", "INTENT-RADAR", "SAFETY-GATE"])


def field_left_out(reply: Reply, data: Draw) -> Reply:
    step = data.draw(st.integers(0, len(reply.trace) - 1))
    key = data.draw(st.sampled_from(list(reply.trace[step].fields)))
    assume(key != VERDICT_KEY)
    return with_call(reply, step, {name: value for name, value in reply.trace[step].fields.items() if name != key})


def field_invented(reply: Reply, data: Draw) -> Reply:
    step = data.draw(st.integers(0, len(reply.trace) - 1))
    return with_call(reply, step, {**reply.trace[step].fields, "mood": "sunny"})


def fields_reversed(reply: Reply, data: Draw) -> Reply:
    step = data.draw(st.integers(0, len(reply.trace) - 1))
    assume(len(reply.trace[step].fields) > 1)
    return with_call(reply, step, dict(reversed(reply.trace[step].fields.items())))


def wrong_type(reply: Reply, data: Draw) -> Reply:
    step, key = pick(data, reply, (Flag, Score, Text, Texts, Level, Choice))
    old = reply.trace[step].fields[key]
    wrong: Value = 5 if isinstance(old, bool) else ("x",) if isinstance(old, str) else "x"
    return with_call(reply, step, {**reply.trace[step].fields, key: wrong})


def forbidden_character(reply: Reply, data: Draw) -> Reply:
    step, key = pick(data, reply, (Text,))
    bad = data.draw(st.sampled_from(['"', "\\", "<", "\n", "\x00", "\x7f", "\ud800"]))
    return with_call(reply, step, {**reply.trace[step].fields, key: f"a{bad}"})


def out_of_range(reply: Reply, data: Draw) -> Reply:
    step, key = pick(data, reply, (Score, Level, Choice, Texts))
    old = reply.trace[step].fields[key]
    wrong: Value = 101 if isinstance(old, int) else ("x",) * 9 if isinstance(old, tuple) else "nonsense"
    return with_call(reply, step, {**reply.trace[step].fields, key: wrong})


def over_budget(reply: Reply, data: Draw) -> Reply:
    step, key = pick(data, reply, (Text, Texts))
    long = "far too long a text " * 40
    wrong: Value = (long,) if isinstance(reply.trace[step].fields[key], tuple) else long
    return with_call(reply, step, {**reply.trace[step].fields, key: wrong})


def no_decision(reply: Reply, data: Draw) -> Reply:
    return reply.model_copy(update={"trace": reply.trace[:-1]})


def goes_on_after_decision(reply: Reply, data: Draw) -> Reply:
    return reply.model_copy(update={"trace": (*reply.trace, reply.trace[0])})


def verdict_against_risk(reply: Reply, data: Draw) -> Reply:
    """Allow what the plan and every level of the trace hold to be critical."""
    reply = with_plan(reply, risk="critical")
    for step, call in enumerate(reply.trace):
        if "level" in call.fields:
            reply = with_call(reply, step, {**call.fields, "level": "critical"})
    assume(reply.trace[-1].tool == "SAFETY-GATE")
    return with_call(reply, len(reply.trace) - 1, {**reply.trace[-1].fields, VERDICT_KEY: "allow"})


def unknown_verdict(reply: Reply, data: Draw) -> Reply:
    last = len(reply.trace) - 1
    return with_call(reply, last, {**reply.trace[last].fields, VERDICT_KEY: "perhaps"})


def answer_in_another_voice(reply: Reply, data: Draw) -> Reply:
    decision = verify(reply, TOOLKIT).decision
    answer = "I won't do that." if decision is Decision.ALLOW else "Sure, here you are."
    return reply.model_copy(update={"answer": answer})


def empty_answer(reply: Reply, data: Draw) -> Reply:
    return reply.model_copy(update={"answer": data.draw(st.sampled_from(["", " x", "\nx"]))})


CORRUPTIONS: list[tuple[Corruption, Code]] = [
    (unknown_plan_word, Code.PLAN_VALUE),
    (plan_without_gate, Code.PLAN_TOOLS),
    (plan_out_of_order, Code.PLAN_TOOLS),
    (plan_with_twins, Code.PLAN_TOOLS),
    (plan_with_stranger, Code.UNKNOWN_TOOL),
    (call_of_stranger, Code.UNKNOWN_TOOL),
    (call_not_planned, Code.TOOL_NOT_PLANNED),
    (call_twice, Code.REPEAT),
    (stages_swapped, Code.ORDER),
    (chain_with_a_gap, Code.EDGE),
    (too_many_calls, Code.BUDGET_CALLS),
    (field_left_out, Code.MISSING_FIELD),
    (field_invented, Code.UNKNOWN_FIELD),
    (fields_reversed, Code.FIELD_ORDER),
    (wrong_type, Code.FIELD_TYPE),
    (forbidden_character, Code.FIELD_TYPE),
    (out_of_range, Code.FIELD_RANGE),
    (over_budget, Code.FIELD_BUDGET),
    (no_decision, Code.MISSING_DECISION),
    (goes_on_after_decision, Code.AFTER_DECISION),
    (verdict_against_risk, Code.DECISION_AGAINST_RISK),
    (unknown_verdict, Code.FIELD_RANGE),
    (answer_in_another_voice, Code.ANSWER_AGAINST_DECISION),
    (empty_answer, Code.ANSWER_EMPTY),
]


@pytest.mark.parametrize(("corrupt", "code"), CORRUPTIONS, ids=lambda value: getattr(value, "__name__", None))
@settings(max_examples=30)
@given(data=st.data())
def test_a_single_corruption_is_caught_under_its_code(corrupt: Corruption, code: Code, data: Draw) -> None:
    reply = corrupt(data.draw(replies(TOOLKIT)), data)
    report = verify(reply, TOOLKIT)
    assert not report.valid
    assert code in {violation.code for violation in report.violations}


def test_every_code_has_a_corruption() -> None:
    formal = {Code.SYNTAX, Code.INCOMPLETE, Code.TRAILING_TEXT, Code.NOT_CANONICAL}  # of texts: see test_text
    assert {code for _, code in CORRUPTIONS} | formal == set(Code)


def test_a_violation_names_step_and_field() -> None:
    reply = Reply(
        plan=Plan(
            category="none",
            risk="low",
            persona="assistant",
            topology="linear",
            depth="brief",
            tools=("OCR-EXTRACT", "RISK-SCORER", "SAFETY-GATE"),
        ),
        trace=(
            Call(tool="OCR-EXTRACT", fields={"found": False, "text": ""}),
            Call(tool="RISK-SCORER", fields={"category": "none", "level": "none", "score": 300}),
            Call(tool="SAFETY-GATE", fields={"rationale": "", "verdict": "allow"}),
        ),
        answer="Yes.",
    )
    (violation,) = verify(reply, TOOLKIT).violations
    assert (violation.code, violation.step, violation.field) == (Code.FIELD_RANGE, 1, "score")
    assert verify(reply, TOOLKIT).decision is Decision.ALLOW


@given(replies(TOOLKIT))
def test_text_and_json_form_get_the_same_verdict(reply: Reply) -> None:
    broken = reply.model_copy(update={"trace": reply.trace[:-1]})
    from_text = verify(print_reply(broken, TOOLKIT), TOOLKIT)
    assert from_text == verify(broken, TOOLKIT)
    assert parse(print_reply(broken, TOOLKIT), TOOLKIT).reply == broken


@given(
    st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5)
)
def test_any_json_that_is_a_reply_gets_a_report(junk: object) -> None:
    fields: dict[str, Value] = {str(junk)[:50]: str(junk), "found": 3, "verdict": ("x",), "level": True}
    reply = Reply(
        plan=Plan(category="", risk=str(junk), persona="", topology="", depth="", tools=(str(junk),) * 3),
        trace=(Call(tool="SAFETY-GATE", fields=fields), Call(tool=str(junk), fields=fields)),
        answer=str(junk),
    )
    assert not verify(reply, TOOLKIT).valid


@given(reply=replies(TOOLKIT), repeated=st.integers(1, 30_000), unknown=st.integers(1, 30_000))
@settings(max_examples=10)
def test_a_report_ends_where_it_is_full_however_much_is_wrong_with_one_line(
    reply: Reply, repeated: int, unknown: int
) -> None:
    """Each fault of the text was once compared with each fault of the reply: 60 KB took ten seconds."""
    faults = "; ".join(["key=1"] * (repeated + 1) + [f"k{number}=1" for number in range(unknown)])
    line = f"[{reply.trace[0].tool}]: "
    text = print_reply(reply, TOOLKIT).replace(line, f"{line}{faults}; ", 1)
    assert len(parse(text, TOOLKIT).violations) <= MAX_VIOLATIONS + 1
    assert 0 < len(verify(text, TOOLKIT).violations) <= MAX_VIOLATIONS
    wrong = with_call(reply, 0, {f"k{number}": "1" for number in range(unknown)})
    assert 0 < len(verify(wrong, TOOLKIT).violations) <= MAX_VIOLATIONS


@pytest.mark.parametrize(
    ("answer", "decision", "agrees"),
    [
        ("I ca", Decision.REFUSE, None),
        ("I can't help with", Decision.REFUSE, True),
        ("Sure", Decision.REFUSE, False),
        ("I can't", Decision.ALLOW, None),
        ("I can do that", Decision.ALLOW, True),
        ("I can't help with it", Decision.ALLOW, False),
        ("", Decision.CLARIFY, None),
    ],
)
def test_an_opening_is_judged_as_soon_as_it_can_be(answer: str, decision: Decision, agrees: bool | None) -> None:
    assert opening_agrees(answer, decision, TOOLKIT) is agrees


@given(replies(TOOLKIT))
def test_walks_stay_within_the_graph_of_their_plan(reply: Reply) -> None:
    walks = graph(TOOLKIT, reply.plan)
    assert len(reply.trace) <= walks.max_calls <= 10
    assert max(names_of(reply).count(name) for name in names_of(reply)) <= walks.max_uses
