"""The wire form: the one printer and the one parser.

Every line ends in a newline, so no token is shared between lines, and what a line may be depends on the lines before it only.
`Reader` takes a reply line by line, which serves a stream, the mask machine and `parse` alike.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from safer_protocol.errors import ValueFormError
from safer_protocol.fields import Value, read_value, write_value
from safer_protocol.plan import HEAD_KEYS, Plan
from safer_protocol.reply import Reply
from safer_protocol.toolkit import Toolkit
from safer_protocol.trace import Call
from safer_protocol.violation import Code, Violation

PLAN_OPEN, PLAN_CLOSE = "<plan>", "</plan>"
TRACE_OPEN, TRACE_CLOSE = "<thinking>", "</thinking>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"

MAX_VIOLATIONS = 100
"""A report names no more than this; reading stops there."""

_TOOL_LINE = re.compile(r"\[([A-Z0-9-]{1,64})\]")
_CALL_LINE = re.compile(r"\[([A-Z0-9-]{1,64})\]: (.*)", re.DOTALL)
_PAIR = re.compile(r'([a-z][a-z0-9_]*)=("[^"]*"|\[[^\]"]*(?:"[^"]*"[^\]"]*)*\]|[^;"\[\]]*)(?:; |$)')
_HEAD = re.compile("; ".join(f"{key}=([a-z0-9_]+)" for key in HEAD_KEYS))


def print_head(plan: Plan) -> str:
    """Write the head of a plan as one line without its newline."""
    return "; ".join(f"{key}={getattr(plan, key)}" for key in HEAD_KEYS)


def given_text(plan: Plan | None) -> str:
    """Write what of a reply counts as written where the plan is given in advance: all that comes before the first call."""
    return "" if plan is None else f"{print_plan(plan)}{TRACE_OPEN}\n"


def print_plan(plan: Plan) -> str:
    """Write a plan with its tags."""
    tools = "".join(f"[{name}]\n" for name in plan.tools)
    return f"{PLAN_OPEN}\n{print_head(plan)}\n{tools}{PLAN_CLOSE}\n"


def print_call(call: Call, toolkit: Toolkit) -> str:
    """Write a call as one line without its newline; raise `ProtocolError` for an unknown tool or an impossible value."""
    tool = toolkit.tool(call.tool)
    by_key = {field.key: field for field in tool.fields}
    unknown = [key for key in call.fields if key not in by_key]
    if unknown:
        raise ValueFormError(f"{tool.name} has no field {unknown[0]!r}")
    return f"[{tool.name}]: " + "; ".join(
        f"{key}={write_value(by_key[key], value)}" for key, value in call.fields.items()
    )


def print_reply(reply: Reply, toolkit: Toolkit) -> str:
    """Write a reply; a reply without an answer ends after its trace."""
    trace = "".join(print_call(call, toolkit) + "\n" for call in reply.trace)
    text = f"{print_plan(reply.plan)}{TRACE_OPEN}\n{trace}{TRACE_CLOSE}\n"
    if reply.answer is None:
        return text
    if ANSWER_CLOSE in reply.answer:
        raise ValueFormError(f"an answer cannot hold {ANSWER_CLOSE}")
    return f"{text}{ANSWER_OPEN}\n{reply.answer}\n{ANSWER_CLOSE}\n"


class Part(StrEnum):
    """Where in a reply the next line belongs."""

    PLAN_OPEN = "plan_open"
    HEAD = "head"
    TOOLS = "tools"
    TRACE_OPEN = "trace_open"
    TRACE = "trace"
    ANSWER_OPEN = "answer_open"
    ANSWER = "answer"
    END = "end"


@dataclass
class Reader:
    """Reads a reply line by line; a line that does not fit is recorded as a violation and passed over."""

    toolkit: Toolkit
    part: Part = Part.PLAN_OPEN
    head: dict[str, str] | None = None
    tools: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)

    def feed(self, line: str) -> None:
        """Take the next line, without its newline."""
        match self.part:
            case Part.PLAN_OPEN:
                self._expect(line, PLAN_OPEN, Part.HEAD)
            case Part.HEAD:
                found = _HEAD.fullmatch(line)
                if found:
                    self.head = dict(zip(HEAD_KEYS, found.groups(), strict=True))
                    self.part = Part.TOOLS
                elif line == PLAN_CLOSE:
                    self._wrong("the plan has no head")
                    self.part = Part.TRACE_OPEN
                else:
                    self._wrong(f"the head of a plan is {'=..; '.join(HEAD_KEYS)}=..")
            case Part.TOOLS:
                self._tool(line)
            case Part.TRACE_OPEN:
                self._expect(line, TRACE_OPEN, Part.TRACE)
            case Part.TRACE:
                if line == TRACE_CLOSE:
                    self.part = Part.ANSWER_OPEN
                else:
                    self._call(line)
            case Part.ANSWER_OPEN:
                self._expect(line, ANSWER_OPEN, Part.ANSWER)
            case Part.ANSWER:
                if ANSWER_CLOSE not in line:
                    self.answer.append(line)
                    return
                if line != ANSWER_CLOSE:
                    self._wrong(f"{ANSWER_CLOSE} stands on a line of its own")
                    self.answer.append(line.partition(ANSWER_CLOSE)[0])
                self.part = Part.END
            case Part.END:
                self.violations.append(Violation(code=Code.TRAILING_TEXT, message="text after the end of the answer"))

    @property
    def plan(self) -> Plan | None:
        """The plan as read, once its head is there."""
        return None if self.head is None else Plan(**self.head, tools=tuple(self.tools))

    def _wrong(self, message: str, step: int | None = None, key: str | None = None) -> None:
        self.violations.append(Violation(code=Code.SYNTAX, message=message, step=step, field=key))

    def _expect(self, line: str, tag: str, following: Part) -> None:
        if line == tag:
            self.part = following
        else:
            self._wrong(f"expected {tag}")

    def _tool(self, line: str) -> None:
        found = _TOOL_LINE.fullmatch(line)
        if line == PLAN_CLOSE:
            self.part = Part.TRACE_OPEN
        elif found:
            self.tools.append(found[1])
        else:
            self._wrong(f"expected [TOOL-NAME] or {PLAN_CLOSE}")

    def _call(self, line: str) -> None:
        step = len(self.calls)
        found = _CALL_LINE.fullmatch(line)
        if not found:
            self._wrong(f"expected [TOOL-NAME]: key=value; ... or {TRACE_CLOSE}", step)
            return
        name, rest = found.groups()
        tool = self.toolkit.by_name.get(name)
        kinds = {field.key: field for field in tool.fields} if tool else {}
        fields: dict[str, Value] = {}
        position = 0
        while position < len(rest) and len(self.violations) < MAX_VIOLATIONS:
            pair = _PAIR.match(rest, position)
            if not pair:
                self._wrong("expected key=value", step)
                break
            key, raw = pair.groups()
            if key in fields:
                self._wrong("a key is given twice", step, key)
            fields[key] = raw
            if key in kinds:
                try:
                    fields[key] = read_value(kinds[key], raw)
                except ValueFormError as error:
                    self.violations.append(Violation(code=Code.FIELD_TYPE, message=str(error), step=step, field=key))
            position = pair.end()
        self.calls.append(Call(tool=name, fields=fields))


@dataclass(frozen=True)
class Parsed:
    """What was read of a text: the reply, as far as there is one, and what is wrong with the form."""

    reply: Reply | None
    violations: tuple[Violation, ...]


def parse(text: str, toolkit: Toolkit) -> Parsed:
    """Read any text at all; a reply comes back whenever a plan's head was found, and violations say what does not fit.

    A text that ends after its trace is a reply without an answer.
    """
    reader = Reader(toolkit)
    lines = text.split("\n")
    for line in lines[:-1]:
        reader.feed(line)
        if len(reader.violations) >= MAX_VIOLATIONS:
            break
    if lines[-1]:
        reader.feed(lines[-1])
        reader.violations.append(Violation(code=Code.INCOMPLETE, message="the last line does not end in a newline"))
    if reader.part not in (Part.ANSWER_OPEN, Part.END):
        message = f"the text ends where {reader.part.replace('_', ' ')} is due"
        reader.violations.append(Violation(code=Code.INCOMPLETE, message=message))
    plan = reader.plan
    if plan is None:
        return Parsed(None, tuple(reader.violations))
    answer = "\n".join(reader.answer) if reader.part in (Part.ANSWER, Part.END) else None
    reply = Reply(plan=plan, trace=tuple(reader.calls), answer=answer)
    if not reader.violations and not _is_canonical(reply, text, toolkit):
        reader.violations.append(Violation(code=Code.NOT_CANONICAL, message="the text is not how its reply is written"))
    return Parsed(reply, tuple(reader.violations))


def _is_canonical(reply: Reply, text: str, toolkit: Toolkit) -> bool:
    try:
        return print_reply(reply, toolkit) == text
    except ValueError:
        return True  # a name or value outside the protocol has no written form: `verify` names what is wrong with it
