"""A streamed chat completion as it comes in, with the vendor object of a guard where there is one."""

import time
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from safer_protocol.decision import Decision
from safer_protocol.plan import Plan
from safer_protocol.toolkit import Toolkit
from safer_protocol.trace import Call
from safer_training.evaluation.replies import Reply
from safer_training.evaluation.targets.written import is_protocol, of_protocol, of_words, risk_of, split_thinking


class _Read(BaseModel):
    """What is read of an object of another's; the rest of it is left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Delta(_Read):
    """What a chunk adds."""

    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class Choice(_Read):
    """A choice of a chunk."""

    delta: Delta = Delta()
    finish_reason: str | None = None


class Usage(_Read):
    """Token counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Verification(_Read):
    """What the guard's verifier said."""

    valid: bool


class Timings(_Read):
    """Milliseconds from the request's arrival."""

    decision: float | None = None


class Safer(_Read):
    """The guard's account of a reply."""

    plan: Plan | None = None
    trace: tuple[Call, ...] = ()
    decision: Decision | None
    outcome: str
    verification: Verification
    timings_ms: Timings

    def fields(self) -> dict[str, Any]:
        """Return what it says as fields of a reply."""
        waited = self.timings_ms.decision
        return {
            "decision": self.decision,
            "outcome": self.outcome,
            "valid": self.verification.valid,
            "risk": None if self.plan is None or self.decision is None else risk_of(self.plan, self.trace),
            **({} if waited is None else {"decision_seconds": waited / 1000}),
        }


class Chunk(_Read):
    """One event of the stream."""

    choices: tuple[Choice, ...] | None = None
    usage: Usage | None = None
    safer: Safer | None = None


@dataclass
class Received:
    """All that came so far."""

    started: float = field(default_factory=time.monotonic)
    content: str = ""
    refusal: str = ""
    thinking: str = ""
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    safer: Safer | None = None
    first_seconds: float | None = None
    """From the request to the first words of the answer or refusal."""

    def add(self, chunk: Chunk) -> None:
        """Take a chunk."""
        for choice in (chunk.choices or ())[:1]:
            self.content += choice.delta.content or ""
            self.refusal += choice.delta.refusal or ""
            self.thinking += choice.delta.reasoning or choice.delta.reasoning_content or ""
            self.finish_reason = choice.finish_reason or self.finish_reason
        self.usage = chunk.usage or self.usage
        self.safer = chunk.safer or self.safer
        if self.first_seconds is None and (self.refusal or split_thinking(self.content)[1].strip()):
            self.first_seconds = self.seconds

    @property
    def seconds(self) -> float:
        """Time since the request."""
        return time.monotonic() - self.started

    def reply(self, uid: str, variant: str, toolkit: Toolkit) -> Reply:
        """Return it as a reply: by the guard's account, else by the wire form of the protocol, else by the words."""
        if self.safer is None and is_protocol(self.content):
            fields = of_protocol(self.content, toolkit)
        else:
            fields = of_words(self.content, self.thinking, self.refusal, self.finish_reason)
        return Reply(
            uid=uid,
            variant=variant,
            finish_reason=self.finish_reason,
            prompt_tokens=self.usage.prompt_tokens,
            completion_tokens=self.usage.completion_tokens,
            seconds=self.seconds,
            **{"decision_seconds": self.first_seconds, **fields, **(self.safer.fields() if self.safer else {})},
        )
