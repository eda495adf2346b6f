"""Hypothesis strategies for replies that are valid by construction."""

from hypothesis import strategies as st

from safer_protocol.decision import Decision
from safer_protocol.fields import Choice, Field, Flag, Level, Score, Text, Texts, Value, bare_words, budget
from safer_protocol.plan import HEAD_KEYS, Depth, Plan, Topology
from safer_protocol.reply import Reply
from safer_protocol.text import ANSWER_CLOSE
from safer_protocol.toolkit import Toolkit
from safer_protocol.tools import VERDICT_KEY
from safer_protocol.topology import ends_walk, graph, plan_menu
from safer_protocol.trace import Call, Standing

TEXT_CHARACTERS = st.characters(
    exclude_characters='"\\<', exclude_categories=("Cs", "Cc"), include_characters=" \u00e9\u6c34\U0001f642\u2028"
)
WORDS = st.sampled_from(["the", "paper", "boat", "7", "is", "blue;", "[ok]", "it's", "水", "🙂", "a=b", "naïve", "-"])


@st.composite
def plans(draw: st.DrawFn, /, toolkit: Toolkit, **given: str) -> Plan:
    """Draw a plan whose tool list the law permits, with the words that are given."""
    head = {key: given.get(key) or draw(st.sampled_from(toolkit.head_words(key))) for key in HEAD_KEYS}
    tools: list[str] = []
    while True:
        menu = plan_menu(toolkit, Topology(head["topology"]), Depth(head["depth"]), tools)
        if menu.may_end:
            return Plan(**head, tools=tuple(tools))
        tools.append(draw(st.sampled_from(menu.tools)))


@st.composite
def texts(draw: st.DrawFn, limit: int) -> str:
    """Draw a line of at most `limit` words, or a few strange characters."""
    if draw(st.booleans()):
        return " ".join(draw(st.lists(WORDS, max_size=max(1, limit // 2))))[: 4 * limit]
    return draw(st.text(TEXT_CHARACTERS, max_size=min(limit, 12)))


@st.composite
def values(draw: st.DrawFn, field: Field, depth: Depth) -> Value:
    """Draw a value that the field may hold at a depth."""
    match field:
        case Flag():
            return draw(st.booleans())
        case Level() | Choice():
            return draw(st.sampled_from(bare_words(field)))
        case Score():
            return draw(st.integers(0, 100))
        case Text():
            return draw(texts(budget(field, depth.scale)))
        case Texts():
            return tuple(draw(st.lists(texts(budget(field, depth.scale)), max_size=field.items)))


ANSWER_TEXT = st.text(max_size=40) | st.lists(
    st.sampled_from(["</answer", ">", "<", "</", "\n", "I can't ", "help with", "answer>", "x ", "[SAFETY-GATE]: "]),
    max_size=8,
).map("".join)


@st.composite
def answers(draw: st.DrawFn, decision: Decision, toolkit: Toolkit) -> str:
    """Draw an answer that agrees with a decision."""
    if decision is Decision.ALLOW:
        start = draw(st.sampled_from(["Yes. ", "I can", "I", "<b>", "水 "]))
    else:
        start = draw(st.sampled_from(toolkit.openings[decision]))
    answer = (start + draw(ANSWER_TEXT)).encode("utf-8", "ignore").decode().replace(ANSWER_CLOSE, "")
    refusals = toolkit.openings[Decision.REFUSE]
    if ANSWER_CLOSE in answer or (decision is Decision.ALLOW and answer.startswith(refusals)):
        return start + "fine"
    return answer


@st.composite
def replies(draw: st.DrawFn, /, toolkit: Toolkit, **given: str) -> Reply:
    """Draw a valid reply: plan, perhaps with given words, a permitted walk with permitted values, and an answer that agrees."""
    plan = draw(plans(toolkit, **given))
    walks, standing, calls = graph(toolkit, plan), Standing(plan.risk, plan.category), list[Call]()
    while not calls or not ends_walk(calls[-1], toolkit):
        tool = toolkit.tool(draw(st.sampled_from(walks.successors([call.tool for call in calls]))))
        fields = {field.key: draw(values(field, Depth(plan.depth))) for field in tool.fields}
        standing = standing.after(Call(tool=tool.name, fields=fields))
        if tool.verdicts:
            fields[VERDICT_KEY] = draw(
                st.sampled_from(toolkit.permitted_verdicts(tool.verdicts, standing.risk, standing.category))
            )
        calls.append(Call(tool=tool.name, fields=fields))
    answer = draw(answers(Decision(str(calls[-1].fields[VERDICT_KEY])), toolkit))
    return Reply(plan=plan, trace=tuple(calls), answer=answer)
