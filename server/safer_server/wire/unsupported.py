"""Fields of the OpenAI API that this server understands and cannot honour.

Each is refused by name, except where its value asks for nothing (`n` 1, `logprobs` false, null).
"""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError


@dataclass(frozen=True)
class Only(BeforeValidator):
    """A validator, and how a JSON Schema tells of it."""

    allowed: tuple[object, ...] = ()

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Name the values."""
        return {"enum": [None, *self.allowed]}


def only(*allowed: object) -> Only:
    """Accept null and the given values; refuse everything else by name."""

    def check(value: object) -> object:
        if value is None or any(type(value) is type(one) and value == one for one in allowed):
            return value
        if allowed:
            raise PydanticCustomError("unsupported_value", "this server does not support this value")
        raise PydanticCustomError("unsupported_parameter", "this server does not support this field")

    return Only(check, allowed=allowed)


Unsupported = Annotated[Any, only()]


class UnsupportedFields(BaseModel):
    """The fields of a chat completion request that would change the reply in a way this server cannot."""

    tools: Unsupported = None
    tool_choice: Unsupported = None
    parallel_tool_calls: Unsupported = None
    functions: Unsupported = None
    function_call: Unsupported = None
    logit_bias: Unsupported = None
    top_logprobs: Unsupported = None
    audio: Unsupported = None
    prediction: Unsupported = None
    reasoning_effort: Unsupported = None
    verbosity: Unsupported = None
    web_search_options: Unsupported = None
    prompt_cache_key: Unsupported = None
    prompt_cache_options: Unsupported = None
    prompt_cache_retention: Unsupported = None
    moderation: Unsupported = None
    n: Annotated[Any, only(1)] = None
    logprobs: Annotated[Any, only(False)] = None
    response_format: Annotated[Any, only({"type": "text"})] = None
    modalities: Annotated[Any, only(["text"])] = None
    presence_penalty: Annotated[Any, only(0, 0.0)] = None
    frequency_penalty: Annotated[Any, only(0, 0.0)] = None
    store: Annotated[Any, only(False)] = None
    service_tier: Annotated[Any, only("auto", "default")] = None
