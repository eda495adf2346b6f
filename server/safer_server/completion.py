"""One chat completion: everything that is sent about a case, whole or in chunks."""

import hashlib
import secrets
import time
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version

from safer_protocol.policy import Policy
from safer_protocol.toolkit import Toolkit
from safer_server.account import safer_of
from safer_server.moderation import moderation_of
from safer_server.record import Record
from safer_server.view import View
from safer_server.wire.response import (
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    CompletionTokensDetails,
    Delta,
    Message,
    Moderation,
    Safer,
    Usage,
)


@dataclass(frozen=True)
class Completion:
    """What all parts of one reply share."""

    model: str
    """The one that answers."""
    guard_model: str
    policy: Policy
    view: View
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(16)}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def toolkit(self) -> Toolkit:
        """What the reply is made of."""
        return self.policy.toolkit

    def whole(self, record: Record, reasoning: str) -> ChatCompletion:
        """The reply in one piece; `reasoning` is what the caller may see of plan and trace as text."""
        shown = reasoning or None
        message = Message(content=record.answer, refusal=record.refusal, reasoning=shown, reasoning_content=shown)
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=(Choice(message=message, finish_reason=record.finish_reason),),
            usage=usage_of(record),
            system_fingerprint=fingerprint(self.model, self.policy.policy_hash),
            safer=self.safer(record),
            moderation=self.moderation(record),
        )

    def chunk(self, *choices: ChunkChoice) -> ChatCompletionChunk:
        """A part of the reply."""
        return ChatCompletionChunk(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=choices,
            system_fingerprint=fingerprint(self.model, self.policy.policy_hash),
        )

    def delta(self, delta: Delta) -> ChatCompletionChunk:
        """A part that adds something."""
        return self.chunk(ChunkChoice(delta=delta))

    def safer(self, record: Record) -> Safer:
        """The vendor object."""
        return safer_of(record, self.view)

    def moderation(self, record: Record) -> Moderation:
        """OpenAI's moderation object, whose verdicts are the guard's."""
        return moderation_of(record, self.toolkit, self.guard_model)


@cache
def fingerprint(model: str, policy_hash: str) -> str:
    """Return a short name for version, model and policy together."""
    backend = f"{version('safer-toolkit')}/{model}/{policy_hash}"
    return f"fp_{hashlib.sha256(backend.encode()).hexdigest()[:12]}"


def usage_of(record: Record) -> Usage:
    """Count tokens as OpenAI does: plan and trace are reasoning, which is part of the completion."""
    reasoning = record.tokens.plan + record.tokens.trace
    completion = reasoning + record.tokens.answer
    return Usage(
        prompt_tokens=record.tokens.prompt,
        completion_tokens=completion,
        total_tokens=record.tokens.prompt + completion,
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=reasoning),
    )
