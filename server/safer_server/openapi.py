"""The server's own OpenAPI document, made from the routes and the models that they read and write."""

from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from importlib.metadata import version
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.routing import BaseRoute

from safer_server.errors import ErrorEnvelope

_COMPONENTS = "#/components/schemas/"

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorEnvelope, "description": "The request is wrong; `error.code` says how."},
    "5XX": {"model": ErrorEnvelope, "description": "The request could not be served; `error.code` says why."},
}
"""What every route may answer."""


@cache
def request_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a body that is read; its parts are named apart from those of responses, which have other defaults."""
    schema = model.model_json_schema(ref_template=f"{_COMPONENTS}{{model}}-Input")
    parts = {f"{name}-Input": part for name, part in schema.pop("$defs", {}).items()}
    return {**schema, "$defs": parts}


@cache
def stream_of(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a response that is also to be had as server-sent events: this model as JSON, or an error, and the end."""
    event = model.model_json_schema(mode="serialization", ref_template=f"{_COMPONENTS}{{model}}")
    told = {"anyOf": [event, {"$ref": f"{_COMPONENTS}{ErrorEnvelope.__name__}"}]}
    data = {
        "anyOf": [{"contentMediaType": "application/json", "contentSchema": told}, {"const": "[DONE]"}],
        "type": "string",
    }
    return {"content": {"text/event-stream": {"itemSchema": {"type": "object", "properties": {"data": data}}}}}


def document(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Describe the routes."""
    written = deepcopy(get_openapi(title="SaFeR-ToolKit", version=version("safer-toolkit"), routes=routes))
    written["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    written["security"] = [{"key": []}, {}]  # a server without keys asks for none
    components = written["components"]["schemas"]
    for path in written["paths"].values():
        for operation in path.values():
            components.update(_taken_out(operation))
    return written


def _taken_out(node: object) -> dict[str, Any]:
    """Take the definitions out of the schemas below a node: references count from the root of the document."""
    match node:
        case dict():
            found: dict[str, Any] = node.pop("$defs", {})
            return found | {name: part for below in node.values() for name, part in _taken_out(below).items()}
        case list():
            return {name: part for below in node for name, part in _taken_out(below).items()}
        case _:
            return {}
