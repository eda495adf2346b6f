"""What of plan and trace the caller is shown: all of it, all but the free texts, or nothing."""

from typing import Literal

from safer_protocol.fields import Text, Texts, Value
from safer_protocol.plan import Plan
from safer_protocol.text import print_call
from safer_protocol.toolkit import Toolkit
from safer_protocol.trace import Call, Trace
from safer_server.events import Reasoning

View = Literal["full", "redacted", "none"]


def show_plan(plan: Plan | None, view: View) -> Plan | None:
    """Show a plan; it holds no free text."""
    return None if view == "none" else plan


def show_trace(trace: Trace, view: View, toolkit: Toolkit) -> Trace:
    """Show the calls."""
    match view:
        case "full":
            return trace
        case "redacted":
            return tuple(_redacted(call, toolkit) for call in trace)
        case "none":
            return ()


def show_line(reasoning: Reasoning, view: View, toolkit: Toolkit) -> str:
    """Show a line of plan or trace."""
    match view:
        case "full":
            return reasoning.line
        case "redacted":
            call = reasoning.call
            return reasoning.line if call is None else print_call(_redacted(call, toolkit), toolkit) + "\n"
        case "none":
            return ""


def _redacted(call: Call, toolkit: Toolkit) -> Call:
    """Empty the texts, in which a model may repeat what it was shown; the closed fields stay, and so does validity."""
    empty: dict[str, Value] = {}
    for field in toolkit.tool(call.tool).fields:
        if isinstance(field, Text):
            empty[field.key] = ""
        if isinstance(field, Texts):
            empty[field.key] = ()
    return Call(tool=call.tool, fields={**call.fields, **empty})
