"""`GET /openapi.json`."""

from collections.abc import Sequence

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.routing import BaseRoute

from safer_server.openapi import document


def openapi_router(routes: Sequence[BaseRoute]) -> APIRouter:
    """Serve the description of all routes, this one left out."""
    router = APIRouter()
    written = document(routes)

    @router.get("/openapi.json", include_in_schema=False)
    async def get_openapi() -> JSONResponse:
        return JSONResponse(written)

    return router
