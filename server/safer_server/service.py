"""The service: a request from its submission to the guard's events, for as long as it takes."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from safer_server.admission import Admission
from safer_server.audit.log import AuditLog
from safer_server.case import Case
from safer_server.engines.base import ContextLengthError
from safer_server.errors import InvalidRequestError
from safer_server.events import Event, Finished
from safer_server.guard import Guard
from safer_server.intake import Intake, Submission
from safer_server.metrics import Metrics
from safer_server.record import Record
from safer_server.relay import Relay
from safer_server.source import Source

if TYPE_CHECKING:
    from safer_server.tracing.provider import Tracing


@dataclass(frozen=True)
class Service:
    """The collaborators that serve a request; `relay` where there is a model behind, `audit` where cases are recorded."""

    guard: Guard
    relay: Relay | None
    intake: Intake
    admission: Admission
    metrics: Metrics
    audit: AuditLog | None = None
    tracing: "Tracing | None" = None

    async def judge(self, submission: Submission, source: Source) -> AsyncGenerator[Event, None]:
        """Yield the guard's events; raise an `ApiError` before the first one, or none.

        Pictures are decoded only once there is a slot, so that waiting requests hold no pixels. A conversation that is longer than
        the model can read is refused, or under a policy that answers what is not judged, read without its oldest turns.
        """
        arrived = time.perf_counter()
        async with self.admission.slot():
            if self.audit is not None:
                await self.audit.room()
            case = await self.intake.case(submission)
            while True:
                waited = time.perf_counter() - arrived
                if self.relay is not None and submission.upstream is not None:
                    events = self.relay.judge(case, submission.upstream, waited)
                else:
                    events = self.guard.judge(case, waited)
                try:
                    async with aclosing(events):
                        async for event in events:
                            if isinstance(event, Finished):
                                event = await self._closed(event.record, submission, case, source)
                            yield event
                    return
                except ContextLengthError:
                    shorter = case.without_oldest() if case.policy.unjudged == "allow" else None
                    if shorter is None:
                        message = "messages: the conversation is longer than the model can read"
                        code = "context_length_exceeded"
                        raise InvalidRequestError(message, param="messages", code=code) from None
                    case = shorter

    async def _closed(self, record: Record, submission: Submission, case: Case, source: Source) -> Finished:
        """Write a closed case down, before anybody is told of its end, and count it."""
        if self.audit is not None:
            record = await self.audit.seal(record, submission, case, source)
        self.metrics.observe(record, source.endpoint)
        if self.tracing is not None:
            self.tracing.observe(record)
        return Finished(record)
