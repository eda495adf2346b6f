"""Reading a request body: bounded while it arrives, then parsed into a model or refused with the field's name."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from safer_server.errors import InvalidRequestError, MediaTypeError, SlowClientError, TooLargeError
from safer_server.openapi import request_schema

Model = TypeVar("Model", bound=BaseModel)

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SUFFIX = {"unknown_role": ".role", "unknown_part": ".type"}
_CODES = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "unsupported_parameter": "unsupported_parameter",
    "unsupported_value": "unsupported_value",
}
_MESSAGES = {
    "missing": "this field is required",
    "extra_forbidden": "this field is not known",
    "too_short": "this must not be empty",
    "too_long": "this has too many items",
}


@dataclass(frozen=True)
class ClientLimits:
    """What a client may send, and how long it may take for each part of what it sends or receives."""

    body_bytes: int
    seconds: float


async def read_body(request: Request, limits: ClientLimits) -> bytes:
    """Return the body; raise `TooLargeError` as soon as too much is announced or has arrived, `SlowClientError` if it stops."""
    limit = limits.body_bytes
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise TooLargeError(f"The body is larger than {limit} bytes.")
    body = bytearray()
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout(limits.seconds):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise SlowClientError(f"Nothing more of the body came for {limits.seconds:g} seconds.") from None
        if chunk is None:
            return bytes(body)
        body += chunk
        if len(body) > limit:
            raise TooLargeError(f"The body is larger than {limit} bytes.")


async def read_model(request: Request, model: type[Model], limits: ClientLimits) -> Model:
    """Read the body as JSON into `model`; raise the `ApiError` that names what is wrong.

    The declared type must be JSON: a web page may send anything else to a local server without asking.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != "application/json":
        raise MediaTypeError("The body must be sent with Content-Type: application/json.")
    body = await read_body(request, limits)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False)[0]) from None


@dataclass(frozen=True)
class JsonBody(Generic[Model]):
    """The body of a route: what it is read into, within what limits, and how the route's OpenAPI tells of it."""

    model: type[Model]
    limits: ClientLimits

    async def read(self, request: Request) -> Model:
        """Read it; raise the `ApiError` that names what is wrong."""
        return await read_model(request, self.model, self.limits)

    @property
    def openapi(self) -> dict[str, Any]:
        """The route's `openapi_extra`."""
        content = {"application/json": {"schema": request_schema(self.model)}}
        return {"requestBody": {"required": True, "content": content}}


def invalid(detail: ErrorDetails) -> InvalidRequestError:
    """Tell one validation error without repeating the input."""
    kind = detail["type"]
    if kind == "json_invalid":
        return InvalidRequestError("The body is not valid JSON.", code="invalid_json")
    param = location(detail["loc"]) + _SUFFIX.get(kind, "")
    message = _MESSAGES.get(kind) or detail["msg"].removeprefix("Value error, ")
    if param:
        message = f"{param}: {message}"
    return InvalidRequestError(message, param=param or None, code=_CODES.get(kind, "invalid_value"))


def location(loc: tuple[int | str, ...]) -> str:
    """Write a location as `messages[2].content[1]`; a key that is no plain name is written as `?`."""
    written = ""
    for step in loc:
        if isinstance(step, int):
            written += f"[{step}]"
        elif not (step.startswith("<") and step.endswith(">")):
            name = step if _NAME.fullmatch(step) else "?"
            written += f".{name}" if written else name
    return written
