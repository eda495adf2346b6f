"""The service: one chat completion from the checked request to its events, for as long as it takes."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from safer_server.admission import Admission
from safer_server.engines.base import ContextLengthError
from safer_server.errors import InvalidRequestError
from safer_server.events import Event, Finished
from safer_server.guard import Guard
from safer_server.intake import Intake
from safer_server.metrics import Metrics
from safer_server.wire.request import ChatRequest


@dataclass(frozen=True)
class Service:
    """The collaborators that serve a request."""

    guard: Guard
    intake: Intake
    admission: Admission
    metrics: Metrics

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Yield the guard's events; raise an `ApiError` before the first one, or none.

        Pictures are decoded only once there is a slot, so that waiting requests hold no pixels.
        """
        arrived = time.perf_counter()
        async with self.admission.slot():
            case = await self.intake.case(request)
            waited = time.perf_counter() - arrived
            try:
                async with aclosing(self.guard.judge(case, waited)) as events:
                    async for event in events:
                        if isinstance(event, Finished):
                            self.metrics.observe(event.record, "chat")
                        yield event
            except ContextLengthError:
                message = "messages: the conversation is longer than the model can read"
                raise InvalidRequestError(message, param="messages", code="context_length_exceeded") from None
