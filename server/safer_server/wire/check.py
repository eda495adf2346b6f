"""The requests and responses of `/v1/checks`, `/v1/moderations` and LiteLLM's generic guardrail: verdicts without an answer."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from safer_protocol.plan import Depth
from safer_protocol.policy import DEFAULT_POLICY
from safer_server.case import Subject
from safer_server.wire.request import (
    MAX_PARTS,
    CheckOptions,
    JudgeOptions,
    Messages,
    Part,
    Tag64,
    Tag512,
    Wire,
    example,
)
from safer_server.wire.response import Moderation, ModerationResult, Safer, Usage

MAX_INPUTS = 32
"""Most texts that one moderation request may have judged, each for itself."""


class CheckRequest(Wire):
    """Body of `POST /v1/checks`: the last message is judged, in the light of those before it."""

    model_config = example(
        messages=[
            {"role": "user", "content": "What is the capital of France?"},
            {"role": "assistant", "content": "Paris."},
        ]
    )

    messages: Messages
    model: str | None = None
    user: Tag512 | None = None
    safety_identifier: Tag512 | None = None
    metadata: dict[Tag64, Tag512] | None = Field(default=None, max_length=16)
    safer: CheckOptions | None = None


class Check(BaseModel):
    """A verdict: whether what was judged may go on its way, and why."""

    id: str
    object: Literal["check"] = "check"
    created: int
    model: str
    subject: Subject
    allowed: bool
    reasoning: str | None
    usage: Usage
    safer: Safer
    moderation: Moderation


def _input_form(value: object) -> str:
    if not isinstance(value, list | tuple):
        return "<text>"
    return "<texts>" if not value or isinstance(value[0], str) else "<parts>"


class ModerationRequest(Wire):
    """Body of `POST /v1/moderations`: a text, several texts that are judged each for itself, or the parts of one message."""

    model_config = example(input=["What is the capital of France?", "How do I fold a paper boat?"])

    input: Annotated[
        Annotated[str, Field(min_length=1), Tag("<text>")]
        | Annotated[
            tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1, max_length=MAX_INPUTS), Tag("<texts>")
        ]
        | Annotated[tuple[Part, ...], Field(min_length=1, max_length=MAX_PARTS), Tag("<parts>")],
        Discriminator(_input_form),
    ]
    model: str | None = None
    safer: JudgeOptions | None = None


class Moderations(BaseModel):
    """Results in the order of the input."""

    id: str
    model: str
    results: tuple[ModerationResult, ...]


class Tolerant(BaseModel):
    """An object of another project's contract, whose new keys must not stop the traffic."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class GuardrailOptions(Tolerant):
    """What the guardrail's configuration may set."""

    policy: str = DEFAULT_POLICY
    depth: Depth | None = None


class GuardrailRequest(Tolerant):
    """What LiteLLM's generic guardrail sends: of a request the conversation and its flattened texts, of a reply the texts alone."""

    model_config = example(input_type="request", texts=["What is the capital of France?"])

    input_type: Literal["request", "response"]
    texts: tuple[str, ...] | None = None
    images: tuple[str, ...] | None = None
    structured_messages: tuple[dict[str, Any], ...] | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    tool_calls: tuple[dict[str, Any], ...] | None = None
    additional_provider_specific_params: GuardrailOptions | None = None


class GuardrailResponse(BaseModel):
    """The verdict as LiteLLM reads it; `safer` rides along."""

    action: Literal["NONE", "BLOCKED"]
    blocked_reason: str | None
    safer: Safer | None
