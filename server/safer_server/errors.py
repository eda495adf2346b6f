"""Errors of the HTTP server, and the one envelope in which every one of them is told.

ApiError                       status, type and code of an answer that is not a reply
├── InvalidRequestError        400  a field is wrong, unknown or not supported; `param` names it
│   ├── ContentFilterError     400  the guard refused and the caller wants blocks as errors
│   └── UpstreamRejectedError  400  the model behind does not take this request
├── InvalidKeyError            401  no key, or one that the server does not know
├── ScopeError                 403  the key does not open this part of the API
├── NotFoundError              404  no such path, model or policy
├── SlowClientError            408  the next part of the body did not come in time
├── TooLargeError              413  body, image, number of images or pixels over a cap
├── MediaTypeError             415  the body is not declared as JSON
├── RateLimitError             429  more requests than the key has in its time; `Retry-After` says when there is one again
│   └── ConcurrencyLimitError  429  more requests at once than the key has
├── UpstreamFaultError         502  the model behind gave no whole reply
└── UnavailableError           503  nothing wrong with the request
    ├── OverloadedError        503  the queue is full; `Retry-After` says when to come back
    ├── LimitsUnavailableError 503  the key's limits cannot be checked
    ├── AuditUnavailableError  503  what would be answered cannot be recorded; `Retry-After` says when to come back
    ├── GuardUnavailableError  503  no engine could be reached
    └── FailedClosedError      503  no verified reply, and the caller wants blocks as errors

No message repeats what the caller sent.
"""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel


class ErrorBody(BaseModel):
    """What went wrong: for people, the kind, the field at fault, and a stable code."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorEnvelope(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorBody


class ApiError(Exception):
    """An error that has an HTTP status and an envelope."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.code

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers beside the envelope."""
        return {}

    @property
    def envelope(self) -> ErrorEnvelope:
        """The body that says it."""
        return ErrorEnvelope(
            error=ErrorBody(message=self.message, type=self.type, param=self.param, code=self.code),
        )


class InvalidRequestError(ApiError):
    """A field is wrong, unknown or not supported."""

    status = 400
    type = "invalid_request_error"


class ContentFilterError(InvalidRequestError):
    """The guard refused, told as an error because the caller asked for that."""

    code = "content_filter"


class UpstreamRejectedError(InvalidRequestError):
    """The model behind does not take this request."""

    code = "upstream_rejected"


class UpstreamFaultError(ApiError):
    """The model behind gave no whole reply."""

    status = 502
    code = "upstream_fault"


class InvalidKeyError(ApiError):
    """There is no key, or one that the server does not know."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"

    @property
    def headers(self) -> Mapping[str, str]:
        """How to authenticate."""
        return {"WWW-Authenticate": "Bearer"}


class ScopeError(ApiError):
    """The key does not open this part of the API."""

    status = 403
    type = "permission_error"
    code = "insufficient_scope"


class NotFoundError(ApiError):
    """No such path, model or policy."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class SlowClientError(ApiError):
    """The next part of the body did not come in time."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"

    @property
    def headers(self) -> Mapping[str, str]:
        """The connection is given up, since the rest of the body may still come."""
        return {"Connection": "close"}


class TooLargeError(ApiError):
    """Something is over a cap."""

    status = 413
    type = "invalid_request_error"
    code = "too_large"


class MediaTypeError(ApiError):
    """The body is not declared as JSON."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class RateLimitError(ApiError):
    """The key has no request left for now."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        """`Retry-After` in seconds."""
        return {"Retry-After": str(self.retry_after)}


class ConcurrencyLimitError(RateLimitError):
    """The key has as many requests at work as it may have at once."""

    code = "concurrency_limit_exceeded"


class UnavailableError(ApiError):
    """The request may be right, but cannot be served now."""

    status = 503
    type = "server_error"


class OverloadedError(UnavailableError):
    """The queue is full."""

    code = "overloaded"

    def __init__(self, retry_after: int) -> None:
        super().__init__("The server is busy: its queue is full. Try again later.")
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        """`Retry-After` in seconds."""
        return {"Retry-After": str(self.retry_after)}


class LimitsUnavailableError(UnavailableError):
    """The key's limits cannot be checked, so that nobody knows whether the request is within them."""

    code = "limits_unavailable"


class AuditUnavailableError(UnavailableError):
    """The audit log takes no record, or cannot be read."""

    code = "audit_unavailable"

    @property
    def headers(self) -> Mapping[str, str]:
        """`Retry-After` in seconds: until the database has been tried again."""
        return {"Retry-After": "5"}


class GuardUnavailableError(UnavailableError):
    """No engine could be reached."""

    code = "guard_unavailable"


class FailedClosedError(UnavailableError):
    """There is no verified reply, told as an error because the caller asked for that."""

    code = "failed_closed"
