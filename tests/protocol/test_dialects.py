"""The fallback grammars, one by one: budgets, walks, verdicts, answers, special tokens."""

import random
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given

from reply_strategies import plans
from safer_protocol.decision import Decision
from safer_protocol.dialects import Dialect, reply_grammar
from safer_protocol.errors import ProtocolError
from safer_protocol.fields import Choice, Flag, Level, Score, Text, Texts, Value, bare_words
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.reply import Reply
from safer_protocol.text import parse, print_plan, print_reply
from safer_protocol.toolkit import Toolkit, default_toolkit
from safer_protocol.tools import Tool
from safer_protocol.topology import graph, plan_problem, rank
from safer_protocol.trace import Call
from safer_protocol.verify import verify
from walkers import LONG, Start, plan_text, reply_text, starts, takes, tokens_of, wander, written

TOOLKIT = default_toolkit()


@pytest.fixture(scope="session")
def start(tokenizer: Any) -> dict[Dialect, Start]:
    """For each dialect: how to begin a text under a grammar of it."""
    return starts(tokenizer)


def in_order(plan: Plan) -> Plan:
    names = [tool.name for tool in sorted(TOOLKIT.tools, key=rank)]
    return plan.model_copy(update={"tools": tuple(sorted(plan.tools, key=names.index))})


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("depth", [None, *Depth])
def test_a_random_walk_through_the_grammars_verifies(
    start: dict[Dialect, Start], tokenizer: Any, dialect: Dialect, depth: Depth | None
) -> None:
    """With answers of a few tokens, so that closing a spent answer is tried too, within characters as well."""
    seen: Counter[str] = Counter()
    for seed in range(25):
        chance, end = random.Random(seed), tokenizer.eos_token_id
        plan = written(wander(start[dialect](plan_text(dialect, depth)), chance, end), tokenizer)
        read = parse(plan, TOOLKIT).reply
        assert read is not None
        assert depth is None or read.plan.depth == depth
        walker = start[dialect](reply_text(read.plan, dialect, chance.choice([1, 2, 8])))
        reply = written(wander(walker, chance, end), tokenizer)
        assert verify(plan + reply, TOOLKIT).violations == (), plan + reply
        seen[read.plan.topology] += 1
    assert len(seen) >= 4


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("depth", Depth)
def test_a_text_holds_just_its_budget_of_tokens(
    start: dict[Dialect, Start], tokenizer: Any, dialect: Dialect, depth: Depth
) -> None:
    plan = Plan(**HEAD | {"depth": depth}, tools=("VISUAL-SCAN", "POLICY-MATCH", "SAFETY-GATE"))
    walker = start[dialect](reply_text(plan, dialect, 9))
    letter = tokens_of("a", tokenizer)[0]
    lengths = []
    for before in [
        '<thinking>\n[VISUAL-SCAN]: scene="',
        '; sensitive=no\n[POLICY-MATCH]: applies=no; rule="',
        '\n[SAFETY-GATE]: rationale="',
        "; verdict=allow\n</thinking>\n<answer>\n",
    ]:
        for token in tokens_of(before, tokenizer):
            assert walker.allows(token), before
            walker.advance(token)
        lengths.append(0)
        while walker.allows(letter):
            walker.advance(letter)
            lengths[-1] += 1
        if "verdict" not in before:
            walker.advance(tokens_of('"', tokenizer)[0])
    assert lengths == [int(32 * depth.scale), int(24 * depth.scale), int(32 * depth.scale), 9]
    assert takes(walker, tokens_of("\n</answer>\n", tokenizer), tokenizer.eos_token_id)


HEAD = {"category": "privacy", "risk": "medium", "persona": "analyst", "topology": "mesh", "depth": "standard"}
PLANS = {
    Topology.LINEAR: ("OCR-EXTRACT", "RISK-SCORER", "SAFETY-GATE"),
    Topology.TREE: ("VISUAL-SCAN", "QUOTE-TRACE", "INTENT-RADAR", "RISK-SCORER", "REDIRECT-ENGINE", "SAFETY-GATE"),
    Topology.MESH: ("OCR-EXTRACT", "OBJECT-INVENTORY", "RISK-SCORER", "POLICY-MATCH", "CAUTION-WRITER", "SAFETY-GATE"),
    Topology.SHIELD: ("ENTRY-GATE", "KEYWORD-FLAGGING", "RISK-SCORER", "SAFETY-GATE"),
    Topology.LOOP: ("VISUAL-SCAN", "OBJECT-INVENTORY", "INTENT-RADAR", "RISK-SCORER", "REDIRECT-ENGINE", "SAFETY-GATE"),
}


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("depth", Depth)
@pytest.mark.parametrize("topology", Topology)
def test_each_budget_has_a_rule_of_its_own_that_is_used_once(
    start: dict[Dialect, Start], dialect: Dialect, depth: Depth, topology: Topology
) -> None:
    tools = PLANS[topology] if depth is not Depth.BRIEF else (*PLANS[topology][:3], "SAFETY-GATE")[-4:]
    plan = Plan(**HEAD | {"topology": topology, "depth": depth}, tools=tuple(dict.fromkeys(tools)))
    grammar = reply_grammar(TOOLKIT, plan, dialect, 50)
    start[dialect](grammar)
    named = re.findall(r"^(\w+)\[max_tokens=\d+\]", grammar, re.MULTILINE)
    fields = [field for name in plan.tools for field in TOOLKIT.tool(name).fields]
    texts = sum(1 if isinstance(field, Text) else field.items if isinstance(field, Texts) else 0 for field in fields)
    assert len(named) == texts + len(Decision) * (2 if dialect is Dialect.LARK else 1)
    bare = re.sub(r'"(?:[^"\\]|\\.)*"|/.*/', "", grammar)
    uses = Counter(re.findall(r"\w+", bare))
    assert all(uses[name] == 2 for name in named)  # where it is made, and where it is used


GATE = '[SAFETY-GATE]: rationale=""; verdict={}\n</thinking>\n<answer>\n{}\n</answer>\n'


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    ("topology", "text", "taken"),
    [
        ("shield", '[ENTRY-GATE]: reason=""; verdict=refuse\n</thinking>\n<answer>\nI won\'t\n</answer>\n', True),
        ("shield", '[ENTRY-GATE]: reason=""; verdict=proceed\n</thinking>\n<answer>\nYes\n</answer>\n', False),
        ("shield", GATE.format("refuse", "I won't"), False),
        ("linear", "{ocr}{risk:low}" + GATE.format("allow", "Yes, 1 < 2 and </b> and </answe>."), True),
        ("linear", "{ocr}{risk:low}" + GATE.format("allow", "I can't say"), True),
        ("linear", "{ocr}{risk:low}" + GATE.format("allow", "I can't help with this"), False),
        ("linear", "{ocr}{risk:low}" + GATE.format("allow", " Yes"), False),
        ("linear", "{ocr}{risk:low}" + GATE.format("allow", ""), False),
        ("linear", "{ocr}{risk:low}" + GATE.format("clarify", "Could you clarify"), True),
        ("linear", "{ocr}{risk:low}" + GATE.format("clarify", "I won't"), False),
        ("linear", "{ocr}{risk:high}" + GATE.format("allow", "Yes"), False),
        ("linear", "{ocr}{risk:critical}" + GATE.format("refuse", "I won't, sorry"), True),
        ("linear", "{ocr}{risk:critical}" + GATE.format("clarify", "Could you clarify"), False),
        ("linear", "{ocr}" + GATE.format("allow", "Yes"), False),
        ("linear", "{ocr}{ocr}{risk:low}" + GATE.format("allow", "Yes"), False),
    ],
)
def test_walk_verdict_and_answer_are_held_together(
    start: dict[Dialect, Start], tokenizer: Any, dialect: Dialect, topology: str, text: str, taken: bool
) -> None:
    text = text.replace("{ocr}", '[OCR-EXTRACT]: found=yes; text="7 + 7"\n')
    text = re.sub(r"{risk:(\w+)}", r"[RISK-SCORER]: category=privacy; level=\1; score=50\n", text)
    plan = Plan(**HEAD | {"topology": topology}, tools=PLANS[Topology(topology)])
    walker = start[dialect](reply_text(plan, dialect))
    assert takes(walker, tokens_of(f"<thinking>\n{text}", tokenizer), tokenizer.eos_token_id) == taken


@pytest.mark.parametrize("dialect", Dialect)
def test_no_special_token_is_taken_for_text(start: dict[Dialect, Start], tokenizer: Any, dialect: Dialect) -> None:
    plan = Plan(**HEAD, tools=PLANS[Topology.MESH])
    walker = start[dialect](reply_text(plan, dialect))
    text = '<thinking>\n[OCR-EXTRACT]: found=yes; text=""\n[POLICY-MATCH]: applies=no; rule=""\n'
    text += '[SAFETY-GATE]: rationale=""; verdict=allow\n</thinking>\n<answer>\nYes'
    for token in tokens_of(text, tokenizer):
        assert not any(walker.allows(special) for special in tokenizer.added_tokens_decoder)
        walker.advance(token)
    assert not any(walker.allows(special) for special in tokenizer.added_tokens_decoder)


def test_category_and_nested_openings_are_kept(start: dict[Dialect, Start], tokenizer: Any) -> None:
    """A toolkit whose outcomes depend on the category in force and whose openings begin with one another."""
    toolkit = Toolkit(
        outcomes={"self_harm": (Decision.SAFE_COMPLETE, Decision.REFUSE)},
        openings=dict(TOOLKIT.openings) | {Decision.REFUSE: ("I won't", "I won't do", "No")},
    )
    plan = Plan(**HEAD, tools=("OCR-EXTRACT", "RISK-SCORER", "POLICY-MATCH", "SAFETY-GATE"))
    begin = '<thinking>\n[OCR-EXTRACT]: found=yes; text=""\n[RISK-SCORER]: category={}; level=low; score=7\n'
    answers = ["Yes", "I won't", "I won't d", "I won't dare", "N", "Now", "I can help with the safe part of it"]
    for dialect in Dialect:
        for category in ("privacy", "self_harm"):
            for verdict in Decision:
                for answer in answers:
                    text = begin.format(category) + GATE.format(verdict, answer)
                    walker = start[dialect](reply_grammar(toolkit, plan, dialect, LONG))
                    taken = takes(walker, tokens_of(text, tokenizer), tokenizer.eos_token_id)
                    assert taken == verify(print_plan(plan) + text, toolkit).valid, text


@given(plan=plans(TOOLKIT))
def test_both_dialects_have_the_same_rules(plan: Plan) -> None:
    """But for the second terminal of an answer, which only a greedy lexer needs."""
    lark, ebnf = (reply_grammar(TOOLKIT, plan, dialect, 50).count("\n") for dialect in Dialect)
    assert 0 <= lark - ebnf <= len(Decision)


def test_a_plan_that_is_not_valid_is_refused() -> None:
    plan = Plan(**HEAD, tools=PLANS[Topology.MESH])
    for change in ({"risk": "huge"}, {"depth": "brief"}, {"tools": ("NO-TOOL",)}, {"tools": plan.tools[:-1]}):
        with pytest.raises(ProtocolError):
            reply_grammar(TOOLKIT, plan.model_copy(update=change), Dialect.LARK, 50)


@pytest.mark.parametrize("dialect", Dialect)
def test_the_law_of_plans_is_kept(start: dict[Dialect, Start], tokenizer: Any, dialect: Dialect) -> None:
    """Tool lists drawn at random, in the toolkit's order."""
    chance = random.Random(1)
    taken = 0
    for _ in range(300):
        topology, depth = chance.choice(list(Topology)), chance.choice(list(Depth))
        names = chance.sample(list(TOOLKIT.by_name), chance.randint(1, 9))
        plan = in_order(Plan(**HEAD | {"topology": topology, "depth": depth}, tools=tuple({*names, "SAFETY-GATE"})))
        if topology is not Topology.SHIELD and chance.random() < 0.9:
            plan = plan.model_copy(update={"tools": tuple(name for name in plan.tools if name != "ENTRY-GATE")})
        walker = start[dialect](plan_text(dialect))
        accepted = takes(walker, tokens_of(print_plan(plan), tokenizer), tokenizer.eos_token_id)
        assert accepted == (plan_problem(TOOLKIT, plan) is None), plan
        taken += accepted
    assert 30 < taken < 270


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("depth", [Depth.BRIEF, Depth.STANDARD])
@pytest.mark.parametrize("topology", Topology)
def test_walks_are_those_of_the_topology(
    start: dict[Dialect, Start], tokenizer: Any, dialect: Dialect, depth: Depth, topology: Topology
) -> None:
    """Walks along edges of the graph and beside them, back edges twice and calls too many included."""
    tools = PLANS[topology] if depth is not Depth.BRIEF else (*PLANS[topology][:-1][:3], "SAFETY-GATE")
    plan = Plan(**HEAD | {"topology": topology, "depth": depth}, tools=tools)
    walks, chance, outcomes = graph(TOOLKIT, plan), random.Random(7), Counter[bool]()
    for _ in range(120):
        walk = [walks.start]
        while walk[-1] != "SAFETY-GATE" and len(walk) <= depth.max_calls:
            onward = walks.edges[walk[-1]] + walks.backward.get(walk[-1], ())
            walk.append(chance.choice(onward if chance.random() < 0.95 else plan.tools))
        reply = Reply(
            plan=plan, trace=tuple(plain_call(TOOLKIT.tool(name)) for name in walk), answer="Could you clarify"
        )
        text = print_reply(reply, TOOLKIT)
        rest = text.removeprefix(print_plan(plan))
        taken = takes(start[dialect](reply_text(plan, dialect)), tokens_of(rest, tokenizer), tokenizer.eos_token_id)
        assert taken == verify(text, TOOLKIT).valid, text
        outcomes[taken] += 1
    assert len(outcomes) == 2


def plain_call(tool: Tool) -> Call:
    """A call that says as little as may be, and clarifies at a closing gate."""
    fields: dict[str, Value] = {}
    for field in tool.fields:
        match field:
            case Flag():
                fields[field.key] = True
            case Level() | Choice():
                words = bare_words(field)
                fields[field.key] = next((word for word in ("clarify", "proceed", "medium") if word in words), words[0])
            case Score():
                fields[field.key] = 7
            case Text():
                fields[field.key] = ""
            case Texts():
                fields[field.key] = ()
    return Call(tool=tool.name, fields=fields)
