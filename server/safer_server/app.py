"""The HTTP app, built from explicit collaborators."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from safer_protocol.toolkit import default_toolkit
from safer_server.access import Access
from safer_server.admission import Admission
from safer_server.audit.log import AuditLog, new_server
from safer_server.audit.meters import Meters
from safer_server.audit.recording import Identity
from safer_server.body import ClientLimits
from safer_server.checkpoint import checkpoint_hash
from safer_server.edge import Edge, add_error_handlers
from safer_server.engines.base import Constrained, Engine, Reducing
from safer_server.fetch import Fetcher
from safer_server.guard import Guard
from safer_server.intake import Intake
from safer_server.keys import Scope, keys_of
from safer_server.media import Media, MediaLimits
from safer_server.metrics import Metrics
from safer_server.network import CheckedNetwork
from safer_server.openapi import ERRORS
from safer_server.policies import Policies, load_policies
from safer_server.quotas import open_quotas
from safer_server.readiness import Readiness
from safer_server.relay import Relay
from safer_server.routes.chat import chat_router
from safer_server.routes.checks import checks_router
from safer_server.routes.console import console_router
from safer_server.routes.health import health_router
from safer_server.routes.internal import routes_on
from safer_server.routes.metrics import metrics_router
from safer_server.routes.models import models_router
from safer_server.routes.openapi import openapi_router
from safer_server.routes.protocol import protocol_router
from safer_server.routes.traces import receipt_keys_router, traces_router
from safer_server.service import Service
from safer_server.settings import Settings
from safer_server.tracing import open_tracing
from safer_server.upstream import Upstream

if TYPE_CHECKING:
    from safer_server.tracing.provider import Tracing

logger = logging.getLogger(__name__)


def create_app(settings: Settings, engine: Engine, policies: Policies | None = None) -> FastAPI:
    """Build the app, with the default policy or those given; it owns the engine from its start to its shutdown."""
    policies = policies or load_policies((), default_toolkit())
    keys = keys_of(settings)
    quotas = open_quotas(settings.limits_url.get_secret_value(), settings.retry_after)
    access = Access(keys, quotas)
    client = ClientLimits(settings.max_body_bytes, settings.client_seconds)
    tracing = open_tracing() if settings.tracing else None
    judge = Guard if tracing is None else tracing.guard
    guard = judge(engine, settings.request_seconds)
    metrics = Metrics(engine, policies)
    admission = Admission(
        settings.max_in_flight, settings.max_queue, settings.retry_after, metrics.show_load, metrics.count_turned_away
    )
    readiness = Readiness(Guard(engine, settings.request_seconds), metrics.show_canary)
    upstream = upstream_of(settings, tracing)
    relay = None if upstream is None else Relay(guard, upstream, settings.upstream_window)
    audit = audit_of(settings, engine, metrics)
    service = Service(guard, relay, intake(settings, engine, policies), admission, metrics, audit, tracing)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if isinstance(engine, Constrained):
            logger.info("mask machine: %s", engine.blocks.held)
        if keys.is_open and not settings.is_loopback:
            logger.warning("whoever reaches %s may use this server: no keys are set", settings.host)
        async with AsyncExitStack() as closing:  # the last one first, and each of them whatever the others do
            if tracing is not None:
                closing.push_async_callback(tracing.close)
            if audit is not None:
                closing.push_async_callback(audit.close)
                await audit.start()
            closing.push_async_callback(quotas.close)
            if service.intake.media.fetcher is not None:
                closing.push_async_callback(service.intake.media.fetcher.close)
            closing.push_async_callback(engine.close)
            await engine.start()
            if upstream is not None:
                closing.push_async_callback(upstream.close)
            tasks = [asyncio.create_task(readiness.prove()), asyncio.create_task(metrics.keep_fresh())]
            closing.push_async_callback(_cancel, tasks)
            yield

    app = FastAPI(lifespan=lifespan, openapi_url=None, redirect_slashes=False, responses=ERRORS)
    if tracing is not None:
        app.add_middleware(tracing.requests)
    app.add_middleware(Edge)  # the outermost
    add_error_handlers(app)
    internal = routes_on(settings.internal_port)
    chat = [access.require(Scope.CHAT)]
    app.include_router(chat_router(service, client), dependencies=chat)
    app.include_router(checks_router(service, client), dependencies=chat)
    app.include_router(
        models_router([engine.model] if upstream is None else [engine.model, upstream.model]), dependencies=chat
    )
    app.include_router(protocol_router(policies, settings.client_seconds), dependencies=chat)
    app.include_router(health_router(readiness, engine, policies))  # public
    if audit is not None:
        app.include_router(traces_router(audit.store, internal), dependencies=[access.require(Scope.AUDIT)])
        app.include_router(receipt_keys_router(audit))  # public
    if settings.metrics:
        app.include_router(metrics_router(metrics, internal), dependencies=[access.require(Scope.METRICS)])
    app.include_router(openapi_router(app.routes))  # public
    if settings.console:
        app.include_router(console_router(internal))  # public
    return app


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def upstream_of(settings: Settings, tracing: "Tracing | None") -> Upstream | None:
    """Open the client for the model behind this server, where the settings name one."""
    if settings.upstream_url is None or settings.upstream_model is None:
        return None
    key = None if settings.upstream_key is None else settings.upstream_key.get_secret_value()
    ask = Upstream if tracing is None else tracing.upstream
    return ask(settings.upstream_url, key, settings.upstream_model, settings.request_seconds)


def audit_of(settings: Settings, engine: Engine, metrics: Metrics) -> AuditLog | None:
    """Make the audit log, unless the settings turn it off."""
    if not settings.audit:
        return None
    identity = Identity(
        server=new_server(),
        content=settings.audit_content,
        model=engine.model,
        checkpoint=None if engine.name == "scripted" else checkpoint_hash(settings.model),
        engine=engine.name,
        upstream=settings.upstream_model,
    )
    return AuditLog(settings, identity, Meters(metrics.registry))


def intake(settings: Settings, engine: Engine, policies: Policies) -> Intake:
    """Take the limits on requests from the settings."""
    return Intake(
        model=engine.model,
        upstream=settings.upstream_model,
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
