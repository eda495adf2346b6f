"""`GET /`: the console, a page that asks this server as any client does."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse
from fastapi.routing import APIRoute

_FILES = Path(__file__).parent.parent / "console"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page runs its own script alone, and that talks to this server alone."""


def console_router(route_class: type[APIRoute]) -> APIRouter:
    """Serve the page; it holds nothing secret, and its calls need a key where calls do."""
    router = APIRouter(route_class=route_class, include_in_schema=False)

    @router.get("/")
    async def page() -> FileResponse:
        return FileResponse(_FILES / "index.html", headers={"content-security-policy": _POLICY})

    @router.get("/console/console.css")
    async def style() -> FileResponse:
        return FileResponse(_FILES / "console.css")

    @router.get("/console/console.js")
    async def script() -> FileResponse:
        return FileResponse(_FILES / "console.js")

    return router
