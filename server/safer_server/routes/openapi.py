"""`GET /openapi.json`."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.routing import BaseRoute

from safer_server.openapi import document


def openapi_router(routes: Sequence[BaseRoute]) -> APIRouter:
    """Serve the description of all routes, this one left out."""
    router = APIRouter()

    @cache
    def written() -> dict[str, Any]:
        return document(routes)

    @router.get("/openapi.json", include_in_schema=False)
    def get_openapi() -> JSONResponse:  # in a thread: the first time takes a while
        return JSONResponse(written())

    return router
