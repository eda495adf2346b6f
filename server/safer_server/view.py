"""What of plan and trace the caller is shown: all of it, all but the free texts, or nothing."""

from typing import Literal

from safer_protocol.fields import Text, Texts, Value
from safer_protocol.plan import HEAD_KEYS, Plan
from safer_protocol.text import print_call
from safer_protocol.toolkit import Toolkit
from safer_protocol.trace import Call, Trace
from safer_protocol.verify import Report
from safer_protocol.violation import Violation
from safer_server.events import Reasoning

View = Literal["full", "redacted", "none"]

_PARTS = ("tools", "answer")
"""What violations outside of calls may name, beside the keys of a plan."""


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


def show_violations(report: Report, view: View, toolkit: Toolkit) -> tuple[Violation, ...]:
    """Show what is wrong; a field that the protocol does not know has its name from the model, so that it is free text."""
    if view == "full":
        return report.violations
    known = {*_PARTS, *HEAD_KEYS, *(field.key for tool in toolkit.tools for field in tool.fields)}
    return tuple(
        violation if violation.field in known else violation.model_copy(update={"field": None})
        for violation in report.violations
    )


def _redacted(call: Call, toolkit: Toolkit) -> Call:
    """Empty the texts, in which a model may repeat what it was shown; the closed fields stay, and so does validity."""
    empty: dict[str, Value] = {}
    for field in toolkit.tool(call.tool).fields:
        if isinstance(field, Text):
            empty[field.key] = ""
        if isinstance(field, Texts):
            empty[field.key] = ()
    return Call(tool=call.tool, fields={**call.fields, **empty})
