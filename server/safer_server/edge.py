"""The edge of the process: a request id on every response, and one envelope for every error."""

import logging
import secrets
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safer_server.body import invalid
from safer_server.errors import ApiError, ErrorBody, ErrorEnvelope

logger = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"

_HTTP_MESSAGES = {
    404: ("There is no such path.", "not_found"),
    405: ("This path has no such method.", "method_not_allowed"),
}


class Edge:
    """Gives each request an id, and answers 500 where nothing inside did; the traceback goes to the log alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(16)}"
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (REQUEST_ID.encode(), request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            logger.exception("request %s failed", request_id)
            if started:
                raise
            body = ErrorBody(message="The server made an error.", type="server_error", code="internal_error")
            await _respond(500, ErrorEnvelope(error=body))(scope, receive, send_with_id)


def add_error_handlers(app: FastAPI) -> None:
    """Put every error that FastAPI or our routes raise into the envelope."""

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> JSONResponse:
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


def _respond(status: int, envelope: ErrorEnvelope, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(envelope.model_dump(mode="json"), status_code=status, headers=dict(headers or {}))
