"""Verdicts without an answer: `POST /v1/checks`, `/v1/moderations` and LiteLLM's generic guardrail."""

import asyncio
import secrets
import time
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from safer_server.account import reasoning_of, safer_of
from safer_server.body import ClientLimits, JsonBody
from safer_server.completion import usage_of
from safer_server.disconnect import while_connected
from safer_server.edge import CLIENT_GONE
from safer_server.errors import FailedClosedError
from safer_server.events import Finished
from safer_server.intake import Submission
from safer_server.moderation import moderation_of, result_of
from safer_server.record import Record
from safer_server.routes.blocks import raise_for
from safer_server.service import Service
from safer_server.source import Source
from safer_server.wire.check import (
    Check,
    CheckRequest,
    GuardrailRequest,
    GuardrailResponse,
    ModerationRequest,
    Moderations,
)
from safer_server.wire.request import CheckOptions


def checks_router(service: Service, client: ClientLimits) -> APIRouter:
    """Serve verdicts."""
    router = APIRouter()
    to_check = JsonBody(CheckRequest, client)
    to_moderate = JsonBody(ModerationRequest, client)
    to_guard = JsonBody(GuardrailRequest, client)
    model = service.intake.model

    @router.post("/v1/checks", openapi_extra=to_check.openapi, response_model=Check)
    async def check(request: Request) -> Response:
        body = await to_check.read(request)
        submission, options = service.intake.check(body), body.safer or CheckOptions()

        async def answer() -> Check:
            record = await _verdict(service, submission, Source.of(request, "checks"))
            raise_for(record, options)
            return Check(
                id=f"check-{secrets.token_hex(16)}",
                created=int(time.time()),
                model=model,
                subject=record.subject,
                allowed=record.allowed,
                reasoning=reasoning_of(record, options.trace),
                usage=usage_of(record),
                safer=safer_of(record, options.trace),
                moderation=moderation_of(record, submission.policy.toolkit, model),
            )

        return await _while_connected(request, answer())

    @router.post("/v1/moderations", openapi_extra=to_moderate.openapi, response_model=Moderations)
    async def moderate(request: Request) -> Response:
        body = await to_moderate.read(request)
        submissions = service.intake.moderation(body)

        async def answer() -> Moderations:
            records = await _verdicts(service, submissions, Source.of(request, "moderations"))
            results = []
            for record in records:
                raise_for(record, CheckOptions())
                if record.finding is None:
                    raise FailedClosedError("The guard came to no verified decision.")
                results.append(result_of(record, record.finding, record.policy.toolkit, model))
            return Moderations(id=f"modr-{secrets.token_hex(16)}", model=model, results=tuple(results))

        return await _while_connected(request, answer())

    @router.post("/beta/litellm_basic_guardrail_api", openapi_extra=to_guard.openapi, response_model=GuardrailResponse)
    async def guardrail(request: Request) -> Response:
        body = await to_guard.read(request)
        submission = service.intake.guardrail(body)

        async def answer() -> GuardrailResponse:
            if not submission.conversation:
                return GuardrailResponse(action="NONE", blocked_reason=None, safer=None)
            record = await _verdict(service, submission, Source.of(request, "litellm"))
            raise_for(record, CheckOptions())
            return GuardrailResponse(
                action="NONE" if record.allowed else "BLOCKED",
                blocked_reason=record.refusal,
                safer=safer_of(record, "redacted"),
            )

        return await _while_connected(request, answer())

    return router


async def _while_connected(request: Request, work: Coroutine[Any, Any, BaseModel]) -> Response:
    try:
        return JSONResponse((await while_connected(request, work)).model_dump(mode="json"))
    except ClientDisconnect:
        return Response(status_code=CLIENT_GONE)


async def _verdicts(service: Service, submissions: Sequence[Submission], source: Source) -> list[Record]:
    """Judge all of them, as far as there are slots at once; the first that cannot be judged ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_verdict(service, one, source)) for one in submissions]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _verdict(service: Service, submission: Submission, source: Source) -> Record:
    async with aclosing(service.judge(submission, source)) as events:
        async for event in events:
            if isinstance(event, Finished):
                return event.record
    raise RuntimeError("a case ended without a record")
