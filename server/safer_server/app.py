"""The HTTP app, built from explicit collaborators."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from safer_protocol.toolkit import default_toolkit
from safer_server.admission import Admission
from safer_server.edge import Edge, add_error_handlers
from safer_server.engines.base import Constrained, Engine, Reducing
from safer_server.fetch import Fetcher
from safer_server.guard import Guard
from safer_server.intake import Intake
from safer_server.media import Media, MediaLimits
from safer_server.metrics import Metrics
from safer_server.network import CheckedNetwork
from safer_server.policies import Policies, load_policies
from safer_server.readiness import Readiness
from safer_server.routes.chat import chat_router
from safer_server.routes.health import health_router
from safer_server.routes.metrics import metrics_router
from safer_server.routes.models import models_router
from safer_server.routes.protocol import protocol_router
from safer_server.service import Service
from safer_server.settings import Settings

logger = logging.getLogger("uvicorn.error")


def create_app(settings: Settings, engine: Engine, policies: Policies | None = None) -> FastAPI:
    """Build the app, with the default policy or those given; it owns the engine from its start to its shutdown."""
    policies = policies or load_policies((), default_toolkit())
    guard = Guard(engine, settings.request_seconds)
    metrics = Metrics(engine, policies)
    admission = Admission(settings.max_in_flight, settings.max_queue, settings.retry_after, metrics.show_load)
    readiness = Readiness(guard)
    service = Service(guard, intake(settings, engine, policies), admission, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if isinstance(engine, Constrained):
            logger.info("mask machine: %s", engine.blocks.held)
        await engine.start()
        tasks = [asyncio.create_task(readiness.prove()), asyncio.create_task(metrics.keep_fresh())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await engine.close()
            if service.intake.media.fetcher is not None:
                await service.intake.media.fetcher.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    app.add_middleware(Edge)
    add_error_handlers(app)
    app.include_router(chat_router(service, settings.max_body_bytes))
    app.include_router(models_router(engine.model))
    app.include_router(protocol_router(policies))
    app.include_router(health_router(readiness, engine, policies))
    if settings.metrics:
        app.include_router(metrics_router(metrics))
    return app


def intake(settings: Settings, engine: Engine, policies: Policies) -> Intake:
    """Take the limits on requests from the settings."""
    return Intake(
        model=engine.model,
        policies=policies,
        media=_media(settings, engine),
        max_images=settings.max_images,
        answer_tokens=settings.answer_tokens,
    )


def _media(settings: Settings, engine: Engine) -> Media:
    limits = MediaLimits(settings.max_image_bytes, settings.max_image_pixels)
    reduce = engine.reduce if isinstance(engine, Reducing) else None
    if not settings.image_hosts:
        return Media(limits, reduce=reduce)
    network, tls = CheckedNetwork(settings.image_networks), ssl.create_default_context()
    fetcher = Fetcher(settings.image_hosts, settings.max_image_bytes, settings.image_seconds, network, tls)
    return Media(limits, fetcher, reduce)
