"""The fallback grammars: llguidance, xgrammar, the machine, the parser and the verifier agree on what a reply is.

Texts are compared in the tokenizer's own tokens. These differences are meant, and no other:

budget      the engines count a text's tokens, the verifier knows a lower bound of them: a valid reply may be refused for a text
            within two tokens of its budget, or beyond it
order       the plan grammars list tools of one rank in the toolkit's order only
special     for xgrammar no answer holds `<|`
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reply_strategies import plans, replies
from safer_protocol.constrain.machine import Cursor, Machine
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.decision import Decision, Risk
from safer_protocol.dialects import Dialect, plan_grammar, reply_grammar
from safer_protocol.errors import ProtocolError
from safer_protocol.fields import Text, Texts, budget
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.reply import Reply
from safer_protocol.text import PLAN_CLOSE, parse, print_plan, print_reply
from safer_protocol.toolkit import Toolkit, default_toolkit
from safer_protocol.tools import Stage, Tool
from safer_protocol.topology import plan_problem, rank
from safer_protocol.verify import verify

llguidance = pytest.importorskip("llguidance")
xgrammar = pytest.importorskip("xgrammar")

TOOLKIT = default_toolkit()
LONG = 400
"""More tokens than any answer here has."""


class Walker(Protocol):
    """One text being written under a grammar."""

    def allows(self, token: int) -> bool:
        """Whether the token may come next."""

    def allowed(self) -> list[int]:
        """Which tokens may come next."""

    def advance(self, token: int) -> None:
        """Take an allowed token."""


class Guidance:
    """A text under llguidance."""

    def __init__(self, matcher: Any, size: int) -> None:
        self.matcher, self.size = matcher, size

    def allows(self, token: int) -> bool:
        mask = self.matcher.compute_bitmask()
        return bool(mask[token // 8] >> (token % 8) & 1)

    def allowed(self) -> list[int]:
        mask = int.from_bytes(self.matcher.compute_bitmask(), "little")
        return [token for token in range(min(mask.bit_length(), self.size)) if mask >> token & 1]

    def advance(self, token: int) -> None:
        assert self.matcher.consume_token(token), self.matcher.get_error()


class XGrammar:
    """A text under xgrammar."""

    def __init__(self, matcher: Any, size: int) -> None:
        self.matcher, self.size, self.mask = matcher, size, xgrammar.allocate_token_bitmask(1, size)
        self.words = self.mask.numpy().view("uint32")[0]

    def allows(self, token: int) -> bool:
        self.matcher.fill_next_token_bitmask(self.mask)
        return bool(int(self.words[token // 32]) >> (token % 32) & 1)

    def allowed(self) -> list[int]:
        self.matcher.fill_next_token_bitmask(self.mask)
        mask = int.from_bytes(self.words.tobytes(), "little")
        return [token for token in range(min(mask.bit_length(), self.size)) if mask >> token & 1]

    def advance(self, token: int) -> None:
        assert self.matcher.accept_token(token)


class Machined:
    """A text under the machine."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor

    def allows(self, token: int) -> bool:
        return token in self.cursor.allowed()

    def allowed(self) -> list[int]:
        return [int(token) for token in self.cursor.allowed().ids]

    def advance(self, token: int) -> None:
        self.cursor.advance(token)


Start = Callable[[str], Walker]


@pytest.fixture(scope="session")
def start(tokenizer: Any) -> dict[Dialect, Start]:
    """For each dialect: how to begin a text under a grammar of it."""
    size = len(tokenizer)
    guidance = llguidance.LLTokenizer(tokenizer.backend_tokenizer.to_str(), eos_token=tokenizer.eos_token_id)
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, stop_token_ids=[tokenizer.eos_token_id])
    compiler = xgrammar.GrammarCompiler(info, max_threads=1)

    @lru_cache(64)
    def compiled(grammar: str) -> Any:
        matcher = llguidance.LLMatcher(guidance, grammar)
        assert not matcher.is_error(), matcher.get_error()
        return matcher

    def lark(grammar: str) -> Walker:
        return Guidance(compiled(grammar).deep_copy(), size)

    def ebnf(grammar: str) -> Walker:
        return XGrammar(xgrammar.GrammarMatcher(compiler.compile_grammar(grammar)), size)

    return {Dialect.LARK: lark, Dialect.EBNF: ebnf}


@lru_cache(8)
def plan_text(dialect: Dialect, depth: Depth | None = None) -> str:
    return plan_grammar(TOOLKIT, dialect, depth)


@lru_cache(64)
def reply_text(plan: Plan, dialect: Dialect, answer_tokens: int = LONG) -> str:
    return reply_grammar(TOOLKIT, plan, dialect, answer_tokens)


def tokens_of(text: str, tokenizer: Any) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return found


def takes(walker: Walker, tokens: Sequence[int], end: int) -> bool:
    """Whether a text is accepted, mask by mask."""
    for token in tokens:
        if not walker.allows(token):
            return False
        walker.advance(token)
    return walker.allows(end)


def grammars_take(text: str, dialect: Dialect, start: dict[Dialect, Start], tokenizer: Any) -> bool:
    """Whether the two calls together accept a reply."""
    plan, tag, rest = text.partition(f"{PLAN_CLOSE}\n")
    end = tokenizer.eos_token_id
    if not takes(start[dialect](plan_text(dialect)), tokens_of(plan + tag, tokenizer), end):
        return False
    reply = parse(plan + tag, TOOLKIT).reply
    assert reply is not None
    assert plan_problem(TOOLKIT, reply.plan) is None
    return takes(start[dialect](reply_text(reply.plan, dialect)), tokens_of(rest, tokenizer), end)


def is_near_a_budget(reply: Reply, tokenizer: Any) -> bool:
    scale = Depth(reply.plan.depth).scale
    for call in reply.trace:
        for field in TOOLKIT.tool(call.tool).fields:
            if isinstance(field, Text | Texts):
                value = call.fields[field.key]
                texts = value if isinstance(value, tuple) else (str(value),)
                if any(len(tokens_of(text, tokenizer)) > budget(field, scale) - 2 for text in texts):
                    return True
    return False


def without_long_texts(reply: Reply, tokenizer: Any) -> Reply:
    """The reply with each text that is near its budget left empty."""
    scale = Depth(reply.plan.depth).scale
    trace = []
    for call in reply.trace:
        kept = dict(call.fields)
        for field in TOOLKIT.tool(call.tool).fields:
            match field, kept[field.key]:
                case Text(), str() as text if len(tokens_of(text, tokenizer)) > budget(field, scale) - 2:
                    kept[field.key] = ""
                case Texts(), tuple() as texts:
                    room = budget(field, scale) - 2
                    kept[field.key] = tuple(t if len(tokens_of(t, tokenizer)) <= room else "" for t in texts)
        trace.append(call.model_copy(update={"fields": kept}))
    return reply.model_copy(update={"trace": tuple(trace)})


def in_order(plan: Plan) -> Plan:
    names = [tool.name for tool in sorted(TOOLKIT.tools, key=rank)]
    return plan.model_copy(update={"tools": tuple(sorted(plan.tools, key=names.index))})


FAMILIES: list[tuple[str, ...]] = [tuple(Risk), tuple(Decision), tuple(Topology), tuple(Depth), tuple(TOOLKIT.by_name)]
FAMILIES += [("proceed", "refuse"), ("yes", "no"), ("0", "7", "07", "100", "101"), TOOLKIT.head_words("category")]
WORDS = sorted({word for family in FAMILIES for word in family})
WORD = re.compile("|".join(rf"(?<![\w-]){re.escape(word)}(?![\w-])" for word in WORDS))
STRAY = ["x", "7", " ", '"', "<", "\n", "]", ";", "\\", "é", "</answer>", "<|im_start|>", "\r", ", "]


def corrupted(text: str, chance: random.Random) -> str:
    """A text that differs from a reply in one place."""
    place = chance.randrange(len(text))
    lines = text.splitlines(keepends=True)
    line = chance.randrange(len(lines))
    match chance.randrange(10):
        case 0:
            return text[:place] + text[place + 1 :]
        case 1:
            return text[:place] + chance.choice(STRAY) + text[place:]
        case 2:
            return text[:place] + chance.choice(STRAY) + text[place + 1 :]
        case 3:
            return "".join(lines[:line] + lines[line + 1 :])
        case 4:
            return "".join(lines[:line] + lines[line : line + 1] + lines[line:])
        case 5:
            other = chance.randrange(len(lines))
            lines[line], lines[other] = lines[other], lines[line]
            return "".join(lines)
        case 6:
            place = chance.randint(text.index("<answer>\n") + len("<answer>\n"), len(text))
            return text[:place] + chance.choice(STRAY) + text[place:]
        case _:
            word = chance.choice(list(WORD.finditer(text)))
            family = chance.choice([family for family in FAMILIES if word[0] in family])
            return text[: word.start()] + chance.choice(family) + text[word.end() :]


@settings(max_examples=160, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(reply=replies(TOOLKIT), chance=st.randoms(use_true_random=False), ordered=st.integers(0, 3))
def test_all_agree_on_replies_and_corrupted_ones(
    start: dict[Dialect, Start], machine: Machine, tokenizer: Any, reply: Reply, chance: random.Random, ordered: int
) -> None:
    if ordered:
        reply = reply.model_copy(update={"plan": in_order(reply.plan)})
    whole = print_reply(without_long_texts(reply, tokenizer), TOOLKIT)
    for text in [whole, *(corrupted(whole, chance) for _ in range(14))]:
        read = parse(text, TOOLKIT).reply
        is_valid = verify(text, TOOLKIT).valid and read is not None and read.answer is not None
        by_machine = takes(Machined(machine.start()), tokens_of(text, tokenizer), tokenizer.eos_token_id)
        by_grammars = {dialect: grammars_take(text, dialect, start, tokenizer) for dialect in Dialect}
        if not is_valid or read is None:
            assert not by_machine, text
            assert not any(by_grammars.values()), (by_grammars, text)
        elif not is_near_a_budget(read, tokenizer):
            assert by_machine, text
            is_in_order = read.plan == in_order(read.plan)
            assert by_grammars[Dialect.LARK] == is_in_order, text
            assert by_grammars[Dialect.EBNF] == (is_in_order and "<|" not in str(read.answer)), text


def written(tokens: Sequence[int], tokenizer: Any) -> str:
    """The text of tokens, as a server decodes it: bytes that are no character become U+FFFD."""
    table = Vocabulary.from_tokenizer(tokenizer).tokens
    return b"".join(table[token] or b"" for token in tokens).decode("utf-8", "replace")


def wander(walker: Walker, chance: random.Random, end: int) -> list[int]:
    """Take random allowed tokens to the end."""
    tokens: list[int] = []
    while len(tokens) < 5000:
        allowed = walker.allowed()
        assert allowed, "dead end"
        token = chance.choice(allowed)
        if token == end:
            return tokens
        walker.advance(token)
        tokens.append(token)
    raise AssertionError("the walk does not end")


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


def test_a_text_cannot_be_the_category_in_force() -> None:
    tool = Tool(name="FREE-SORT", stage=Stage.REASONING, meaning="Name any category.", fields=(Text(key="category"),))
    toolkit = Toolkit(tools=(*TOOLKIT.tools, tool))
    plan = Plan(**HEAD, tools=("OCR-EXTRACT", "FREE-SORT", "SAFETY-GATE"))
    with pytest.raises(ProtocolError, match="FREE-SORT"):
        reply_grammar(toolkit, plan, Dialect.EBNF, 50)


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
