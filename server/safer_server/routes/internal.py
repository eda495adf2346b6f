"""Routes that answer on the internal port alone, where there is one."""

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope


def routes_on(port: int | None) -> type[APIRoute]:
    """Make the class of routes that no other port knows; None means that all ports know them.

    The port is the one that the connection came in by, which no header changes.
    """

    class InternalRoute(APIRoute):
        def matches(self, scope: Scope) -> tuple[Match, Scope]:
            if port is not None and (scope.get("server") or (None, None))[1] != port:
                return Match.NONE, {}
            return super().matches(scope)

    return InternalRoute
