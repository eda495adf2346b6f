"""What a model is told before it teaches the protocol."""

from safer_protocol.fields import Choice, Field, Flag, Level, Score, Text, Texts
from safer_protocol.text import ANSWER_CLOSE, ANSWER_OPEN, PLAN_CLOSE, PLAN_OPEN, TRACE_CLOSE, TRACE_OPEN
from safer_protocol.toolkit import Toolkit
from safer_protocol.tools import Tool

NOW_THE_PLAN = "Write the plan, and nothing else."
NOW_THE_REST = "Write the trace and the answer to this plan, and nothing else."

_DUTY = """You write model replies for a safety assistant. You are shown a conversation, its pictures, and labels that say which
decisions are right. If the last message is the assistant's, judge that message. Report only what is there. Never write
instructions that could do harm, not even in part: where they would stand, refuse or leave them out."""
_FORM = f"""A reply has this form, each line ended by a newline:
{PLAN_OPEN}
category=..; risk=..; persona=..; topology=..; depth=..
[TOOL-NAME]
{PLAN_CLOSE}
{TRACE_OPEN}
[TOOL-NAME]: key=value; key="text"; key=["text", "text"]
{TRACE_CLOSE}
{ANSWER_OPEN}
the answer to the user
{ANSWER_CLOSE}
A plan lists each tool once: perception, reasoning and decision tools in this order, the closing gate last. linear calls every tool
in order; tree calls one of each stage; mesh may skip forward; shield opens with the entry gate; loop may go back once."""


def instructions(toolkit: Toolkit) -> str:
    """Return the system prompt for a teacher of a toolkit."""
    heads = "\n".join(f"{key}: {', '.join(toolkit.head_words(key))}" for key in ("category", "risk", "persona"))
    tools = "\n".join(f"{tool.stage}: {_told(tool)}" for tool in toolkit.tools)
    permitted = "\n".join(f"risk {risk} permits {', '.join(found)}" for risk, found in toolkit.permitted.items())
    openings = "\n".join(
        f"after {decision} an answer begins with one of: {' | '.join(found)}"
        for decision, found in toolkit.openings.items()
        if found
    )
    return "\n\n".join((_DUTY, _FORM, heads, tools, permitted, openings))


def _told(tool: Tool) -> str:
    return f"[{tool.name}] {tool.meaning} Fields: {'; '.join(map(_field, tool.fields))}"


def _field(field: Field) -> str:
    match field:
        case Flag():
            return f"{field.key}=yes|no"
        case Level():
            return f"{field.key}=none|low|medium|high|critical"
        case Choice():
            return f"{field.key}={'|'.join(field.words)}"
        case Score():
            return f"{field.key}=0..100"
        case Text():
            return f'{field.key}="at most {field.budget} tokens"'
        case Texts():
            return f"{field.key}=[at most {field.items} texts]"
