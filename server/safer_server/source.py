"""Where a request came from."""

from dataclasses import dataclass

from fastapi import Request

from safer_server.metrics import Endpoint


@dataclass(frozen=True)
class Source:
    """The endpoint, the id that the edge gave the request, and the name of its key if it has one."""

    endpoint: Endpoint
    request_id: str
    caller: str | None

    @classmethod
    def of(cls, request: Request, endpoint: Endpoint) -> "Source":
        """Take what edge and access found out."""
        return cls(endpoint, request.state.request_id, request.state.caller)
