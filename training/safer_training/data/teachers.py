"""Teachers: they write the reply to a row as shown. One writes by rule; the other is any OpenAI-compatible model, told the labels.

A model writes in two calls, the plan and then the rest, each under the grammar of `safer_protocol.dialects` where its server takes
one. Its reply counts only where it verifies and decides as labelled; it is told what was wrong and may try again.
"""

import base64
import mimetypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from safer_protocol.dialects import Dialect, plan_grammar, reply_grammar
from safer_protocol.errors import ProtocolError
from safer_protocol.text import parse, print_reply
from safer_protocol.toolkit import Toolkit
from safer_protocol.verify import verify
from safer_training.data.instructions import NOW_THE_PLAN, NOW_THE_REST, instructions
from safer_training.data.records import TEMPLATE, Message, TextContent
from safer_training.errors import TeacherError
from safer_training.shown import Shown

if TYPE_CHECKING:
    from openai import OpenAI

Grammar = Literal["lark", "ebnf", "none"]
ATTEMPTS = 3
_ANSWER_TOKENS, _MOST_TOKENS = 512, 2048


@dataclass(frozen=True)
class Task:
    """A row as shown, and its conversation as messages with the paths of its pictures."""

    shown: Shown
    messages: tuple[Message, ...]
    images: tuple[Path, ...]


@dataclass(frozen=True)
class Taught:
    """A reply in the wire form, or why there is none."""

    reply: str | None
    fault: str | None = None


class Teacher(Protocol):
    """Writes replies."""

    @property
    def name(self) -> str:
        """The name that its rows carry."""
        ...

    @property
    def workers(self) -> int:
        """Tasks that it takes at a time."""
        ...

    def write(self, task: Task) -> Taught:
        """Write the reply to a task; raise `TeacherError` where the teacher does not answer at all."""
        ...


@dataclass(frozen=True)
class TemplateTeacher:
    """Writes by rule, from labels and facts."""

    toolkit: Toolkit
    name: str = TEMPLATE
    workers: int = 1

    def write(self, task: Task) -> Taught:
        """Return the reply that came with the showing."""
        return Taught(print_reply(task.shown.reply, self.toolkit))


@dataclass(frozen=True)
class ModelTeacher:
    """Lets a model write."""

    client: "OpenAI"
    name: str
    toolkit: Toolkit
    grammar: Grammar
    workers: int = 8
    system: str = field(init=False)

    def __post_init__(self) -> None:
        """Write the instructions once."""
        object.__setattr__(self, "system", instructions(self.toolkit))

    def write(self, task: Task) -> Taught:
        """Ask until a reply verifies and decides as labelled, at most `ATTEMPTS` times."""
        fault = None
        for _ in range(ATTEMPTS):
            text = self._attempt(task, fault)
            fault = self._fault(text, task)
            if fault is None:
                return Taught(text)
        return Taught(None, fault)

    def _fault(self, text: str, task: Task) -> str | None:
        report = verify(text, self.toolkit)
        if not report.valid:
            return ", ".join(sorted({violation.code for violation in report.violations}))
        return None if report.decision in task.shown.row.expected else "another decision than labelled"

    def _attempt(self, task: Task, fault: str | None) -> str:
        begun: list[dict[str, Any]] = [
            {"role": "system", "content": self.system},
            {"role": "user", "content": [*transcript(task, fault), {"type": "text", "text": NOW_THE_PLAN}]},
        ]
        dialect = None if self.grammar == "none" else Dialect(self.grammar)
        plan_text = self._ask(begun, None if dialect is None else plan_grammar(self.toolkit, dialect))
        reply = parse(plan_text, self.toolkit).reply
        if reply is None:
            return plan_text
        try:
            rest = None if dialect is None else reply_grammar(self.toolkit, reply.plan, dialect, _ANSWER_TOKENS)
        except ProtocolError:
            return plan_text
        more = [{"role": "assistant", "content": plan_text}, {"role": "user", "content": NOW_THE_REST}]
        return plan_text + self._ask([*begun, *more], rest)

    def _ask(self, messages: list[dict[str, Any]], grammar: str | None) -> str:
        text = ask(self.client, self.name, messages, {"structured_outputs": {"grammar": grammar}} if grammar else {})
        return text.strip() + "\n"


def ask(client: "OpenAI", model: str, messages: Any, extra: dict[str, Any]) -> str:
    """Ask a model for a message; raise `TeacherError` where it gives none."""
    from openai import OpenAIError

    try:
        found = client.chat.completions.create(
            model=model, messages=messages, temperature=0.7, max_tokens=_MOST_TOKENS, extra_body=extra
        )
    except OpenAIError as error:
        raise TeacherError(f"{model} does not answer: {error}; what is done is kept, run the same again") from error
    return (found.choices[0].message.content if found.choices else None) or ""


def transcript(task: Task, fault: str | None = None) -> list[dict[str, Any]]:
    """Return the conversation, its labels and what was wrong with the last try as the parts of one message."""
    images = iter(task.images)
    parts: list[dict[str, Any]] = []
    for message in task.messages:
        parts.append({"type": "text", "text": f"[{message.role}]"})
        for content in message.content:
            if isinstance(content, TextContent):
                parts.append({"type": "text", "text": content.text})
            else:
                parts.append({"type": "image_url", "image_url": {"url": _data_url(next(images))}})
    row = task.shown.row
    told = f"[labels] right decisions: {', '.join(row.expected)}; category: {row.category or 'not labelled'}"
    if row.answer is not None:
        told += f"; right answer: {row.answer}"
    if fault is not None:
        told += f"\n[last try] wrong: {fault}"
    return [*parts, {"type": "text", "text": told}]


def _data_url(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0]
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
