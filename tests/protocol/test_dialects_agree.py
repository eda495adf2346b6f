"""The fallback grammars: llguidance, xgrammar, the machine, the parser and the verifier agree on what a reply is.

Texts are compared in the tokenizer's own tokens. These differences are meant, and no other:

budget      the engines count a text's tokens, the verifier knows a lower bound of them: a valid reply may be refused for a text
            within two tokens of its budget, or beyond it
order       the plan grammars list tools of one rank in the toolkit's order only
special     for xgrammar no answer holds `<|`
"""

import random
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attack import EXAMPLES
from reply_strategies import replies
from safer_protocol.constrain.machine import Machine
from safer_protocol.decision import Decision, Risk
from safer_protocol.dialects import Dialect
from safer_protocol.fields import Text, Texts, budget
from safer_protocol.plan import Depth, Plan, Topology
from safer_protocol.reply import Reply
from safer_protocol.text import PLAN_CLOSE, parse, print_reply
from safer_protocol.toolkit import default_toolkit
from safer_protocol.topology import plan_problem, rank
from safer_protocol.verify import verify
from walkers import Machined, Start, plan_text, reply_text, starts, takes, tokens_of

TOOLKIT = default_toolkit()


@pytest.fixture(scope="session")
def start(tokenizer: Any) -> dict[Dialect, Start]:
    """For each dialect: how to begin a text under a grammar of it."""
    return starts(tokenizer)


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


@settings(
    max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
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
