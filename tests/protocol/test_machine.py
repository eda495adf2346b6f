"""The mask machine: whatever it allows ends in a valid reply, and every valid reply is allowed."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reply_strategies import plans, replies
from safer_protocol.constrain.cache import compile_blocks
from safer_protocol.constrain.forced import forced_tokens
from safer_protocol.constrain.machine import Cursor, Machine
from safer_protocol.constrain.vocabulary import Vocabulary
from safer_protocol.decision import Decision
from safer_protocol.errors import VocabularyError
from safer_protocol.fields import Text, Texts, budget
from safer_protocol.plan import Depth, Plan
from safer_protocol.reply import Reply
from safer_protocol.text import ANSWER_OPEN, parse, print_reply
from safer_protocol.toolkit import Toolkit, default_toolkit
from safer_protocol.verify import verify

TOOLKIT = default_toolkit()


def walk(cursor: Cursor, seed: int) -> tuple[str, list[int]]:
    """Take random allowed tokens to the end; return the text and the tokens."""
    chance = random.Random(seed)
    written, tokens = bytearray(cursor.prefix.encode()), list[int]()
    while not cursor.finished:
        allowed = cursor.allowed().ids
        assert len(allowed) > 0, f"dead end after {written.decode('utf-8', 'replace')!r}"
        tokens.append(int(allowed[chance.randrange(len(allowed))]))
        written += cursor.advance(tokens[-1])
        assert len(tokens) < 5000, "the walk does not end"
    return written.decode(), tokens


@pytest.mark.parametrize("depth", [None, *Depth])
def test_a_random_walk_parses_and_verifies(machine: Machine, depth: Depth | None) -> None:
    for seed in range(100):
        text, _ = walk(machine.start(depth=depth, answer_tokens=20), seed)
        report = verify(text, TOOLKIT)
        assert report.violations == (), text
        reply = parse(text, TOOLKIT).reply
        assert reply is not None
        assert depth is None or reply.plan.depth == depth


@settings(max_examples=40)
@given(plan=plans(TOOLKIT), seed=st.integers(0, 1000))
def test_a_given_plan_is_kept(machine: Machine, plan: Plan, seed: int) -> None:
    text, _ = walk(machine.start(plan=plan, answer_tokens=10), seed)
    assert verify(text, TOOLKIT).valid
    reply = parse(text, TOOLKIT).reply
    assert reply is not None
    assert reply.plan == plan


@settings(max_examples=100)
@given(reply=replies(TOOLKIT))
def test_every_valid_reply_within_its_budgets_is_allowed(machine: Machine, tokenizer: Any, reply: Reply) -> None:
    def size(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False))

    scale = Depth(reply.plan.depth).scale
    fields = {(call.tool, field.key): field for call in reply.trace for field in TOOLKIT.tool(call.tool).fields}
    trace = []
    for call in reply.trace:
        kept = dict(call.fields)
        for key, value in call.fields.items():
            match fields[call.tool, key], value:
                case Text() as field, str() if size(value) > budget(field, scale) - 2:
                    kept[key] = ""
                case Texts() as field, tuple():
                    kept[key] = tuple(item if size(item) <= budget(field, scale) - 2 else "" for item in value)
        trace.append(call.model_copy(update={"fields": kept}))
    text = print_reply(reply.model_copy(update={"trace": tuple(trace)}), TOOLKIT)

    cursor = machine.start()
    for token in tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True):
        assert token in cursor.allowed(), text
        cursor.advance(token)
    assert cursor.allowed().ids.tolist() == [machine.vocabulary.eos]


def test_no_allowed_token_leads_nowhere(machine: Machine) -> None:
    """At every twentieth place of two walks, try each allowed token: the place behind it allows something again."""
    for seed in range(2):
        _, tokens = walk(machine.start(answer_tokens=5), seed)
        for cut in range(0, len(tokens), 20):
            for token in replay(machine, tokens[:cut]).allowed().ids.tolist():
                cursor = replay(machine, tokens[:cut])
                cursor.advance(token)
                assert cursor.finished or len(cursor.allowed().ids) > 0


def replay(machine: Machine, tokens: list[int]) -> Cursor:
    cursor = machine.start(answer_tokens=5)
    for token in tokens:
        cursor.allowed()
        cursor.advance(token)
    return cursor


@pytest.mark.parametrize("depth", Depth)
def test_texts_end_when_their_budget_is_spent(machine: Machine, depth: Depth) -> None:
    """Never choose to close a text: the machine has to."""
    begins_with_quote = machine.vocabulary.begins_with_quote
    for seed in range(30):
        chance, cursor, inside, count, longest = random.Random(seed), machine.start(depth=depth), False, 0, 0
        while not cursor.decided:
            allowed = cursor.allowed().ids.tolist()
            open_ended = [token for token in allowed if not inside or token not in begins_with_quote] or allowed
            text = cursor.advance(chance.choice(open_ended))
            quotes = text.count(b'"')
            inside = inside ^ (quotes % 2 == 1)
            count = count + 1 if inside and not quotes else 0
            longest = max(longest, count)
        assert longest <= 48 * depth.scale + 3  # the largest budget, and the rest of a character


def test_an_answer_is_closed_when_its_budget_is_spent(machine: Machine, tokenizer: Any) -> None:
    for seed in range(50):
        cursor = machine.start(answer_tokens=8)
        text, _ = walk(cursor, seed)
        answer = text.partition(f"{ANSWER_OPEN}\n")[2]
        if cursor.cut:
            assert len(tokenizer.encode(answer)) <= 40
        assert answer.endswith("\n</answer>\n")


@pytest.mark.parametrize("depth", [None, *Depth])
def test_a_reply_is_closed_within_its_limit(machine: Machine, depth: Depth | None) -> None:
    """Never choose to close a text, at every limit from the least to one that hardly matters."""
    cut = 0
    for seed in range(40):
        chance = random.Random(seed)
        limit = machine.least(depth=depth) + chance.randrange(500)
        cursor = machine.start(depth=depth, limit=limit)
        text, tokens = walk(cursor, seed)
        assert len(tokens) <= limit
        assert verify(text, TOOLKIT).violations == (), text
        assert tokens[-1] == (machine.vocabulary.end_of_cut if cursor.cut else machine.vocabulary.eos)
        cut += cursor.cut
    assert cut > 0


@settings(max_examples=30)
@given(plan=plans(TOOLKIT), seed=st.integers(0, 1000))
def test_a_given_plan_is_closed_within_the_least_that_it_needs(machine: Machine, plan: Plan, seed: int) -> None:
    limit = machine.least(plan=plan)
    text, tokens = walk(machine.start(plan=plan, limit=limit), seed)
    assert len(tokens) <= limit
    assert verify(text, TOOLKIT).valid


def test_depths_that_do_not_fit_are_left_out(machine: Machine) -> None:
    def depths(limit: int) -> set[str]:
        texts = [walk(machine.start(limit=limit, answer_tokens=5), seed)[0] for seed in range(25)]
        return {text.partition("depth=")[2].partition("\n")[0] for text in texts}

    assert depths(machine.least(depth=Depth.BRIEF)) == {"brief"}
    assert depths(machine.least(depth=Depth.STANDARD)) == {"brief", "standard"}
    assert depths(machine.least(depth=Depth.FULL)) == {"brief", "standard", "full"}


def test_a_limit_that_nothing_fits_still_gives_a_valid_reply_as_short_as_can_be(machine: Machine) -> None:
    text, tokens = walk(machine.start(limit=1), 3)
    assert verify(text, TOOLKIT).valid
    assert len(tokens) <= machine.least()


def test_a_limit_far_away_changes_nothing(machine: Machine) -> None:
    for seed in range(20):
        assert walk(machine.start(answer_tokens=9, limit=10_000), seed) == walk(machine.start(answer_tokens=9), seed)


def test_a_hurried_cursor_still_has_every_verdict(machine: Machine) -> None:
    """What is left out are detours in the spelling, never a choice."""
    decisions = {verify(walk(machine.start(limit=1), seed)[0], TOOLKIT).decision for seed in range(60)}
    assert decisions == set(Decision)


def test_risk_narrows_the_verdict(machine: Machine) -> None:
    """A walk whose trace says critical refuses, one that says none does not."""
    seen = set()
    for seed in range(400):
        text, _ = walk(machine.start(depth=Depth.BRIEF, answer_tokens=3), seed)
        reply = parse(text, TOOLKIT).reply
        assert reply is not None
        levels = [call.fields["level"] for call in reply.trace if "level" in call.fields]
        risk = levels[-1] if levels else reply.plan.risk
        decision = verify(text, TOOLKIT).decision
        if risk == "critical":
            assert decision is Decision.REFUSE
        if risk == "none":
            assert decision is not Decision.REFUSE
        seen.add((risk, decision))
    assert len({risk for risk, _ in seen}) == 5
    assert {decision for _, decision in seen} == set(Decision)


@pytest.mark.parametrize("token", [-1, 0, 1, 10**6])
def test_a_token_that_is_not_allowed_is_refused(machine: Machine, token: int) -> None:
    cursor = machine.start()
    before = cursor.allowed().ids.tolist()
    with pytest.raises(ValueError, match="not allowed"):
        cursor.advance(token)
    assert cursor.allowed().ids.tolist() == before


def test_nothing_follows_the_end(machine: Machine) -> None:
    cursor = machine.start(answer_tokens=1)
    walk(cursor, 1)
    with pytest.raises(ValueError, match="after the end"):
        cursor.advance(machine.vocabulary.eos)


def test_special_tokens_are_never_allowed(machine: Machine, tokenizer: Any) -> None:
    special = set(tokenizer.added_tokens_decoder) - {machine.vocabulary.eos, machine.vocabulary.end_of_cut}
    for seed in range(10):
        _, tokens = walk(machine.start(answer_tokens=30), seed)
        assert not special & set(tokens)
        assert sum(token in (machine.vocabulary.eos, machine.vocabulary.end_of_cut) for token in tokens) == 1


ALPHABET: list[bytes | None] = [bytes([byte]) for byte in range(256)]


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (ALPHABET[:-1], "1 of 256 bytes are no token"),
        ([*ALPHABET, b"\nx"], "goes on after a newline"),
        ([*ALPHABET, b"two words"], "spans two words"),
        ([*ALPHABET, b" " * 300], "too long"),
    ],
)
def test_a_vocabulary_on_which_the_machine_would_not_be_exact_is_refused(tokens: list[bytes | None], said: str) -> None:
    with pytest.raises(VocabularyError, match=said):
        Vocabulary(tokens, eos=0, end_of_cut=1)


def test_bytes_alone_are_vocabulary_enough() -> None:
    small = Toolkit(tools=tuple(default_toolkit().tool(name) for name in ("OCR-EXTRACT", "RISK-SCORER", "SAFETY-GATE")))
    vocabulary = Vocabulary([*ALPHABET, None, None], eos=256, end_of_cut=257)
    machine = Machine(small, vocabulary, compile_blocks(small, vocabulary))
    for seed in range(20):
        text, _ = walk(machine.start(answer_tokens=10), seed)
        assert verify(text, small).valid


@settings(max_examples=30)
@given(reply=replies(TOOLKIT))
def test_forced_tokens_are_those_of_the_tokenizer(machine: Machine, tokenizer: Any, reply: Reply) -> None:
    """Follow a reply in canonical tokenisation: what is forced is what the tokenizer has there."""
    text = print_reply(reply, TOOLKIT)
    tokens = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    cursor, place, forced = machine.start(), 0, 0
    while place < len(tokens):
        run = forced_tokens(cursor, tokenizer)
        assert run == tokens[place : place + len(run)]
        forced += len(run)
        place += len(run)
        if place < len(tokens):
            if tokens[place] not in cursor.allowed():
                return  # a text longer than its budget in tokens
            cursor.advance(tokens[place])
            place += 1
    assert forced > len(tokens) / 10


def test_forced_text_stops_where_there_is_a_choice(machine: Machine) -> None:
    cursor = machine.start()
    assert cursor.forced_text() == b"<plan>\ncategory="
    assert machine.start(depth=Depth.BRIEF).forced_text() == b"<plan>\ncategory="
