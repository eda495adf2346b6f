"""`GET /metrics`."""

from fastapi import APIRouter, Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST

from safer_server.metrics import Metrics


def metrics_router(metrics: Metrics, route_class: type[APIRoute]) -> APIRouter:
    """Expose the metrics to Prometheus."""
    router = APIRouter(route_class=route_class)

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def get_metrics() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    return router
