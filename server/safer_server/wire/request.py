"""The conversations that requests hold, and the chat completion request.

Nothing is silently ignored: what cannot be honoured is refused by name (`safer_server.wire.unsupported`), and so is a field
that nobody knows. Union tags stand in angle brackets, so that error locations can tell them from field names.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from safer_protocol.plan import Depth, Plan
from safer_protocol.policy import DEFAULT_POLICY
from safer_server.wire.unsupported import Unsupported, UnsupportedFields, only

MAX_MESSAGES = 1024
MAX_PARTS = 256


class Wire(BaseModel):
    """A JSON object whose keys are all known and whose values have the right type from the start."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def example(**fields: Any) -> ConfigDict:
    """Give a model the example that its JSON Schema shows."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class TextPart(Wire):
    """A piece of text."""

    type: Literal["text"]
    text: str = Field(min_length=1)
    prompt_cache_breakpoint: Unsupported = None


class ImageUrl(Wire):
    """Where a picture is: a `data:` URL."""

    url: str = Field(min_length=1)
    detail: Annotated[Any, only("auto")] = None


class ImagePart(Wire):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl
    prompt_cache_breakpoint: Unsupported = None


def _by(key: str, *words: str) -> Any:
    def tag(value: object) -> str | None:
        word = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
        return f"<{word}>" if word in words else None

    return tag


def _form(value: object) -> str:
    return "<text>" if isinstance(value, str) else "<parts>"


Part = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[ImagePart, Tag("<image_url>")],
    Discriminator(
        _by("type", "text", "image_url"),
        custom_error_type="unknown_part",
        custom_error_message="a part is a text or an image_url",
    ),
]
Texts = Annotated[
    Annotated[str, Field(min_length=1), Tag("<text>")]
    | Annotated[tuple[TextPart, ...], Field(min_length=1, max_length=MAX_PARTS), Tag("<parts>")],
    Discriminator(_form),
]
EarlierTexts = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[tuple[TextPart, ...], Field(min_length=1, max_length=MAX_PARTS), Tag("<parts>")],
    Discriminator(_form),
]
"""May be empty: clients that keep no refusals send an earlier one as an empty text."""
Parts = Annotated[
    Annotated[str, Field(min_length=1), Tag("<text>")]
    | Annotated[tuple[Part, ...], Field(min_length=1, max_length=MAX_PARTS), Tag("<parts>")],
    Discriminator(_form),
]


class SystemMessage(Wire):
    """Instructions of the application."""

    role: Literal["system", "developer"]
    content: Texts
    name: Unsupported = None


class UserMessage(Wire):
    """What the user says and shows."""

    role: Literal["user"]
    content: Parts
    name: Unsupported = None


class AssistantMessage(Wire):
    """An earlier reply, as this server or another sent it; its reasoning is accepted and never shown to the model again."""

    role: Literal["assistant"]
    content: EarlierTexts | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    name: Unsupported = None
    audio: Unsupported = None
    tool_calls: Unsupported = None
    function_call: Unsupported = None
    annotations: Annotated[Any, only([])] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.content is None and not self.refusal:
            raise PydanticCustomError("missing", "an assistant message needs content or a refusal")
        return self


Message = Annotated[
    Annotated[SystemMessage, Tag("<system>")]
    | Annotated[SystemMessage, Tag("<developer>")]
    | Annotated[UserMessage, Tag("<user>")]
    | Annotated[AssistantMessage, Tag("<assistant>")],
    Discriminator(
        _by("role", "system", "developer", "user", "assistant"),
        custom_error_type="unknown_role",
        custom_error_message="the role is one of system, developer, user, assistant",
    ),
]


class StreamOptions(Wire):
    """How a stream ends."""

    include_usage: bool = False
    include_obfuscation: Annotated[Any, only(False)] = None


class JudgeOptions(Wire):
    """How the guard shall judge."""

    depth: Annotated[Depth | None, Field(strict=False)] = None
    policy: str = DEFAULT_POLICY


class CheckOptions(JudgeOptions):
    """The vendor object of a check: how the guard shall judge, and what it shall show."""

    mode: Literal["check"] = "check"
    plan: Plan | None = None
    trace: Literal["full", "redacted", "none"] = "full"
    block: Literal["refusal", "error"] = "refusal"


class SaferOptions(CheckOptions):
    """The vendor object of a chat completion."""

    mode: Literal["answer", "check"] = "answer"  # type: ignore[assignment]


def _as_list(value: object) -> object:
    return [] if value is None else [value] if isinstance(value, str) else value


StopText = Annotated[str, Field(min_length=1, max_length=256)]
StopTexts = Annotated[tuple[StopText, ...], Field(max_length=4, strict=False)]
Stop = Annotated[StopTexts, BeforeValidator(_as_list, json_schema_input_type=StopText | StopTexts | None)]
Tag64 = Annotated[str, Field(max_length=64)]
Tag512 = Annotated[str, Field(max_length=512)]


Messages = Annotated[tuple[Message, ...], Field(min_length=1, max_length=MAX_MESSAGES)]


class ChatRequest(UnsupportedFields, Wire):
    """Body of `POST /v1/chat/completions`."""

    model_config = example(model="tiny", messages=[{"role": "user", "content": "What is the capital of France?"}])

    model: str
    messages: Messages
    max_completion_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: Stop = ()
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Tag512 | None = None
    safety_identifier: Tag512 | None = None
    metadata: dict[Tag64, Tag512] | None = Field(default=None, max_length=16)
    safer: SaferOptions | None = None
