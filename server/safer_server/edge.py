"""The edge of the process: a request id and strict headers on every response, and one envelope for every error."""

import logging
import re
import secrets
import time
from collections.abc import Mapping
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from h11 import LocalProtocolError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safer_server.body import invalid
from safer_server.errors import ApiError, ErrorBody, ErrorEnvelope
from safer_server.logs import REQUEST

logger = logging.getLogger(__name__)
access = logging.getLogger("safer_server.access")

REQUEST_ID = "x-request-id"

CLIENT_GONE = 499
"""Nobody reads it; it is what access logs call a client that went away."""

_TAKEN_OVER = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
"""Ids of the caller's that can be in a log line or a header without harm."""

_STRICT = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
"""What a response says unless its route says otherwise."""

_HTTP_MESSAGES = {
    404: ("There is no such path.", "not_found"),
    405: ("This path has no such method.", "method_not_allowed"),
}


class Edge:
    """Gives each request an id, and answers 500 where nothing inside did; the traceback goes to the log alone.

    Routes find `request_id` in the request's state, and `response_headers`, to which they may add.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        response_headers: dict[str, str] = {}
        scope.setdefault("state", {}).update(request_id=request_id, response_headers=response_headers)
        REQUEST.set(scope["state"])
        arrived, status = time.perf_counter(), CLIENT_GONE

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update({REQUEST_ID: request_id, **response_headers})
                for name, value in _STRICT.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass  # in the middle of its body: nobody is there to be answered
        except LocalProtocolError:
            # The rest of the body was no HTTP, which uvicorn has answered itself while we were about to.
            logger.warning("request %s broke off", request_id)
        except Exception:
            logger.exception("a request failed")
            if status != CLIENT_GONE:
                raise
            body = ErrorBody(message="The server made an error.", type="server_error", code="internal_error")
            await _respond(500, ErrorEnvelope(error=body))(scope, receive, send_with_headers)
        finally:
            _log(scope, status, time.perf_counter() - arrived)


def add_error_handlers(app: FastAPI) -> None:
    """Put every error that FastAPI or our routes raise into the envelope; its cause, if it has one, into the log."""

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> JSONResponse:
        if error.__cause__ is not None:
            logger.error("%s: %s", error.code, error.__cause__)
        return _respond(error.status, error.envelope, error.headers)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        message, code = _HTTP_MESSAGES.get(error.status_code, ("The request could not be served.", "http_error"))
        body = ErrorBody(message=message, type="invalid_request_error", code=code)
        return _respond(error.status_code, ErrorEnvelope(error=body), error.headers)

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
        fault = invalid(error.errors()[0])
        return _respond(fault.status, fault.envelope)


def _request_id(scope: Scope) -> str:
    """Take over the caller's id, or make one."""
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if _TAKEN_OVER.fullmatch(given) else f"req_{secrets.token_hex(16)}"


def _log(scope: Scope, status: int, seconds: float) -> None:
    """Write the line of the access log; the query is left out."""
    told = {
        "client": scope["client"][0] if scope.get("client") else None,
        "method": scope["method"],
        "path": quote(scope["path"]),
        "status": status,
        "duration_ms": round(seconds * 1000, 1),
    }
    access.info("%s %s %s %s in %s ms", *told.values(), extra={"access": told})


def _respond(status: int, envelope: ErrorEnvelope, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(envelope.model_dump(mode="json"), status_code=status, headers=dict(headers or {}))
