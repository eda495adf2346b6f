"""The audit log over HTTP: `GET /v1/traces`, `GET /v1/traces/{id}`, and the public keys of receipts."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from sqlalchemy.exc import SQLAlchemyError

from safer_protocol.decision import Decision
from safer_server.audit.keyring import Jwks
from safer_server.audit.log import AuditLog
from safer_server.audit.schema import tools_of
from safer_server.audit.store import TRACE_ID, Cursor, Filter, Store
from safer_server.body import invalid
from safer_server.errors import AuditUnavailableError, InvalidRequestError, NotFoundError
from safer_server.metrics import Endpoint
from safer_server.record import Outcome

Result = TypeVar("Result")

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_EQUAL = ("decision", "outcome", "endpoint", "category", "caller", "policy", "request_id", "server")


def _moment(text: str) -> datetime:
    """Read a time of RFC 3339; only years for which every zone has a time, too."""
    if not _RFC3339.fullmatch(text) or not 1 < int(text[:4]) < 9999:
        raise ValueError("Not a time with its zone, such as 2026-01-31T12:00:00Z")
    return datetime.fromisoformat(text)


Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]


class TraceQuery(BaseModel):
    """Which records are wanted; all that is given must hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision: Decision | None = None
    outcome: Outcome | None = None
    endpoint: Endpoint | None = None
    category: Name | None = None
    caller: Name | None = None
    policy: Name | None = None
    request_id: Name | None = None
    server: Name | None = None
    tool: Name | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: int = Field(default=20, ge=1, le=100)
    cursor: Annotated[Cursor, BeforeValidator(Cursor.parse), WithJsonSchema({"type": "string"})] | None = None

    @property
    def wanted(self) -> Filter:
        """The filter."""
        given = {name: getattr(self, name) for name in _EQUAL}
        equal = {name: str(value) for name, value in given.items() if value is not None}
        return Filter(equal, self.tool, self.since, self.until)


class TraceSummary(BaseModel):
    """A record in a list."""

    trace_id: str
    time: str
    server: str
    sequence: int
    request_id: str
    caller: str | None
    endpoint: str
    policy: str
    outcome: str
    decision: str | None
    category: str | None
    tools: tuple[str, ...]


class TraceList(BaseModel):
    """A page of records, newest first; `next_cursor` is null on the last."""

    object: Literal["list"] = "list"
    data: tuple[TraceSummary, ...]
    has_more: bool
    next_cursor: str | None


def traces_router(store: Store, route_class: type[APIRoute]) -> APIRouter:
    """Serve the audit log."""
    router = APIRouter(route_class=route_class)

    @router.get("/v1/traces", openapi_extra={"parameters": _parameters()})
    async def list_traces(request: Request) -> TraceList:
        query = _query(request)
        rows = await _read(partial(store.page, query.wanted, query.cursor, query.limit + 1))
        has_more = len(rows) > query.limit
        data = tuple(TraceSummary(**{**row, "tools": tools_of(row["tools"])}) for row in rows[: query.limit])
        after = str(Cursor(data[-1].time, data[-1].trace_id)) if has_more else None
        return TraceList(data=data, has_more=has_more, next_cursor=after)

    @router.get("/v1/traces/{trace_id}")
    async def get_trace(trace_id: str) -> Response:
        entry = await _read(partial(store.find, trace_id)) if TRACE_ID.fullmatch(trace_id) else None
        if entry is None:
            raise NotFoundError("There is no such record, or not yet.", param="trace_id", code="trace_not_found")
        return Response(entry.line, media_type="application/json")

    return router


def receipt_keys_router(audit: AuditLog) -> APIRouter:
    """Publish the keys."""
    router = APIRouter()

    @router.get("/.well-known/safer-receipt-keys.json")
    async def get_keys() -> Jwks:
        return audit.jwks

    return router


def _parameters() -> list[dict[str, Any]]:
    """Describe the query, which is read by hand so that errors name its fields as they are."""
    schema = TraceQuery.model_json_schema()
    found = []
    for name, field in schema["properties"].items():
        kind = field.get("anyOf", [field])[0]
        kind = schema["$defs"][kind["$ref"].rpartition("/")[2]] if "$ref" in kind else kind
        shown = {key: value for key, value in kind.items() if key not in ("title", "description", "default")}
        found.append({"name": name, "in": "query", "required": False, "schema": shown})
    return found


def _query(request: Request) -> TraceQuery:
    given = request.query_params.multi_items()
    for name, _ in given:
        if len(request.query_params.getlist(name)) > 1 and name in TraceQuery.model_fields:
            raise InvalidRequestError(f"{name}: given more than once", param=name, code="invalid_value")
    try:
        return TraceQuery.model_validate(dict(given))
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_input=False)[0]) from None


async def _read(work: Callable[[], Result]) -> Result:
    try:
        return await anyio.to_thread.run_sync(work)
    except SQLAlchemyError as error:
        raise AuditUnavailableError("The audit database does not answer.") from error
