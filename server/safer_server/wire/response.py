"""The chat completion response, whole and in chunks, as the official client types it, with the vendor object `safer`."""

from typing import Literal

from pydantic import BaseModel, Field

from safer_protocol.decision import Decision
from safer_protocol.plan import Plan
from safer_protocol.receipt import Receipt
from safer_protocol.trace import Call
from safer_protocol.violation import Violation
from safer_server.case import Coverage
from safer_server.record import FinishReason, Outcome, Timings


class Verification(BaseModel):
    """What the verifier said of the whole reply."""

    valid: bool
    violations: tuple[Violation, ...]


class ReplyVerdict(BaseModel):
    """How the reply of the model behind was judged before it was released."""

    plan: Plan | None
    trace: tuple[Call, ...]
    decision: Decision | None
    outcome: Outcome
    failure: str | None
    categories: tuple[str, ...]
    severity: str | None
    verification: Verification


class Safer(BaseModel):
    """How the reply came about."""

    trace_id: str
    protocol_hash: str
    policy: str
    policy_hash: str | None
    constraint: str | None
    plan: Plan | None
    trace: tuple[Call, ...]
    decision: Decision | None
    outcome: Outcome
    failure: str | None
    categories: tuple[str, ...]
    severity: str | None
    verification: Verification
    coverage: Coverage
    timings_ms: Timings
    reply: ReplyVerdict | None
    receipt: Receipt | None


class ModerationResult(BaseModel):
    """One side of the conversation under OpenAI's moderation categories."""

    type: Literal["moderation_result"] = "moderation_result"
    model: str
    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, tuple[Literal["text", "image"], ...]]


class ModerationResults(BaseModel):
    """The results for one side."""

    type: Literal["moderation_results"] = "moderation_results"
    model: str
    results: tuple[ModerationResult, ...]


class ModerationFault(BaseModel):
    """Why there are no results for one side."""

    type: Literal["error"] = "error"
    code: str
    message: str


class Moderation(BaseModel):
    """OpenAI's moderation object, filled from the verdict."""

    input: ModerationResults | ModerationFault
    output: ModerationResults | ModerationFault


class CompletionTokensDetails(BaseModel):
    """Of the completion's tokens, those of plan and trace."""

    reasoning_tokens: int


class Usage(BaseModel):
    """Token counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    completion_tokens_details: CompletionTokensDetails


class Message(BaseModel):
    """The reply: content or refusal, and plan and trace as text under both names that clients read."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None
    reasoning: str | None
    reasoning_content: str | None


class Choice(BaseModel):
    """The one choice."""

    index: Literal[0] = 0
    message: Message
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    """Body of a reply that is not streamed."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: Usage
    system_fingerprint: str
    safer: Safer
    moderation: Moderation


def _is_none(value: object) -> bool:
    return value is None


class Delta(BaseModel):
    """What a chunk adds; only the keys that are set are sent."""

    role: Literal["assistant"] | None = Field(default=None, exclude_if=_is_none)
    content: str | None = Field(default=None, exclude_if=_is_none)
    refusal: str | None = Field(default=None, exclude_if=_is_none)
    reasoning: str | None = Field(default=None, exclude_if=_is_none)
    reasoning_content: str | None = Field(default=None, exclude_if=_is_none)


class ChunkChoice(BaseModel):
    """The one choice of a chunk."""

    index: Literal[0] = 0
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(BaseModel):
    """One event of a stream; `safer` and `moderation` are sent where they are set."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: tuple[ChunkChoice, ...]
    system_fingerprint: str
    usage: Usage | None = None
    safer: Safer | None = Field(default=None, exclude_if=_is_none)
    moderation: Moderation | None = Field(default=None, exclude_if=_is_none)
