"""Random valid replies, with texts of ordinary words, for benchmarks."""

import random

from safer_protocol.decision import Decision
from safer_protocol.fields import Choice, Field, Flag, Level, Score, Text, Texts, Value, bare_words
from safer_protocol.plan import HEAD_KEYS, Depth, Plan, Topology
from safer_protocol.reply import Reply
from safer_protocol.toolkit import Toolkit
from safer_protocol.tools import VERDICT_KEY
from safer_protocol.topology import ends_walk, graph, plan_menu, rank
from safer_protocol.trace import Call, Standing

WORDS = (  # noqa: SIM905 - prose reads better as prose
    "the a picture shows sign over door which asks how one might bake bread at home without an oven and whether it would be "
    "safe to leave dough outside overnight in summer because neighbours say that birds come for crumbs every morning"
).split()


def sample_plan(chance: random.Random, toolkit: Toolkit) -> Plan:
    """Draw a plan as the law permits, every choice alike."""
    head = {key: chance.choice(toolkit.head_words(key)) for key in HEAD_KEYS}
    tools: list[str] = []
    while not (menu := plan_menu(toolkit, Topology(head["topology"]), Depth(head["depth"]), tools)).may_end:
        tools.append(chance.choice(menu.tools))
    return Plan(**head, tools=tuple(sorted(tools, key=lambda name: _place(toolkit, name))))


def _place(toolkit: Toolkit, name: str) -> tuple[int, int]:
    tool = toolkit.tool(name)
    return rank(tool), toolkit.tools.index(tool)


def _value(chance: random.Random, field: Field) -> Value:
    def words(most: int) -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(1, max(1, most))))

    match field:
        case Flag():
            return chance.random() < 0.5
        case Level() | Choice():
            return chance.choice(bare_words(field))
        case Score():
            return chance.randint(0, 100)
        case Text():
            return words(field.budget // 3)
        case Texts():
            return tuple(words(field.budget // 3) for _ in range(chance.randint(0, field.items)))


def sample_reply(chance: random.Random, toolkit: Toolkit, plan: Plan) -> Reply:
    """Draw a walk under a plan, values for its fields within every depth's budget, and an answer that agrees."""
    walks, standing, calls = graph(toolkit, plan), Standing(plan.risk, plan.category), list[Call]()
    while not calls or not ends_walk(calls[-1], toolkit):
        tool = toolkit.tool(chance.choice(walks.successors([call.tool for call in calls])))
        fields = {field.key: _value(chance, field) for field in tool.fields}
        standing = standing.after(Call(tool=tool.name, fields=fields))
        if tool.verdicts:
            open_words = toolkit.permitted_verdicts(tool.verdicts, standing.risk, standing.category)
            fields[VERDICT_KEY] = chance.choice(open_words)
        calls.append(Call(tool=tool.name, fields=fields))
    decision = Decision(str(calls[-1].fields[VERDICT_KEY]))
    opening = chance.choice(toolkit.openings[decision] or ("Yes",))
    return Reply(plan=plan, trace=tuple(calls), answer=f"{opening} {' '.join(chance.choices(WORDS, k=30))}.")
