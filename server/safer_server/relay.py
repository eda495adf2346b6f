"""The relay: an allowed request is answered by the model behind this server, and its reply is judged before it is released."""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from safer_protocol.prompt import Turn
from safer_server.case import Case, Coverage, Part
from safer_server.deadline import until
from safer_server.engines.base import Constraint, ContextLengthError, Sampling
from safer_server.events import Delivered, Event, Finished
from safer_server.guard import Guard
from safer_server.ledger import FAILED_TEXT, REFUSED_TEXTS
from safer_server.record import BrokenReplyError, Failure, FinishReason, Outcome, Record, Tokens
from safer_server.upstream import Upstream, UpstreamError, UpstreamPiece, UpstreamRejectedError, UpstreamRequest

logger = logging.getLogger(__name__)

MAX_CHARACTERS = 262_144
"""No reply is longer."""

_REPLY = Part("choices[0].message.content", "text")


@dataclass
class _Reply:
    """A reply as far as it has come, how much of it has been judged and released, and what all that has cost."""

    text: str = ""
    released: int = 0
    finish: FinishReason = "stop"
    verdict: Record | None = None
    tokens: Tokens = field(default_factory=Tokens)

    @property
    def held(self) -> str:
        """What has not been released yet."""
        return self.text[self.released :]

    def take(self, piece: UpstreamPiece) -> None:
        self.text += piece.text
        if len(self.text) > MAX_CHARACTERS:
            raise BrokenReplyError(Failure.TOO_LONG)
        if piece.finish is not None:
            self.finish = piece.finish
        self.tokens += Tokens(prompt=piece.prompt_tokens, answer=piece.tokens)


@dataclass(frozen=True)
class Relay:
    """Judges request and reply with one guard. Of a stream, `window` characters at a time are held back until they are judged."""

    guard: Guard
    upstream: Upstream
    window: int

    async def judge(self, case: Case, request: UpstreamRequest, waited: float = 0.0) -> AsyncGenerator[Event, None]:
        """Yield what happens, `Finished` last; it does as `Guard.judge` does, which answers where the request is not allowed."""
        arrived = time.perf_counter() - waited
        record: Record | None = None
        # 1. The request is judged.
        async with aclosing(self.guard.judge(case, waited)) as events:
            async for event in events:
                if isinstance(event, Finished) and event.record.allowed and event.record.decision not in case.answers:
                    record = event.record
                else:
                    yield event
        if record is None:
            return
        # 2. The model behind answers, and nothing is released before a verdict on all that has come so far.
        reply, failure = _Reply(tokens=record.tokens), None
        try:
            async with aclosing(until(self.upstream.stream(case.turns, request), self.guard.seconds)) as pieces:
                async for piece in pieces:
                    reply.take(piece)
                    if request.streams and len(reply.held) >= self.window:
                        if not await self._passes(reply, case):
                            break
                        yield Delivered(_release(reply))
            # 3. The whole reply is judged.
            if reply.held and await self._passes(reply, case):
                yield Delivered(_release(reply))
        except BrokenReplyError as broken:
            failure = broken.failure
        except UpstreamRejectedError:
            failure = Failure.UPSTREAM_REJECTED
        except UpstreamError:
            failure = Failure.UPSTREAM_FAULT
        except TimeoutError:
            failure = Failure.TIMEOUT
        except Exception:
            logger.exception("failed closed on an unexpected error")
            failure = Failure.INTERNAL
        record = _closed(record, reply, failure, arrived)
        if record.outcome is Outcome.REFUSED:
            yield Delivered(REFUSED_TEXTS["reply"], is_refusal=True)
        yield Finished(record)

    async def _passes(self, reply: _Reply, case: Case) -> bool:
        """Judge the reply as far as it has come, as the last turn of the conversation."""
        if reply.verdict is not None and not reply.verdict.allowed:
            return False
        check = replace(
            case,
            turns=(*case.turns, Turn("assistant", (reply.text,))),
            coverage=Coverage((_REPLY,)),
            sampling=Sampling(),
            constraint=Constraint(depth=case.constraint.depth),
            answers=(),
        )
        try:
            async with aclosing(self.guard.judge(check)) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        reply.verdict = event.record
        except ContextLengthError:
            raise BrokenReplyError(Failure.TOO_LONG) from None
        if reply.verdict is None:
            raise BrokenReplyError(Failure.INTERNAL)
        reply.tokens += reply.verdict.tokens
        if reply.verdict.failure is not None:
            raise BrokenReplyError(reply.verdict.failure)
        return reply.verdict.allowed


def _release(reply: _Reply) -> str:
    held = reply.held
    reply.released = len(reply.text)
    return held


def _closed(record: Record, reply: _Reply, failure: Failure | None, arrived: float) -> Record:
    """Close the record of the request with what became of the reply."""
    total = round((time.perf_counter() - arrived) * 1000, 3)
    timings = replace(record.timings, answer=round(total - (record.timings.decision or 0.0), 3), total=total)
    judged = record.coverage.judged if reply.verdict is None else (*record.coverage.judged, _REPLY)
    record = replace(
        record,
        reply=reply.verdict,
        coverage=replace(record.coverage, judged=judged),
        tokens=reply.tokens,
        timings=timings,
    )
    verdict = Outcome.ANSWERED if reply.verdict is None else reply.verdict.outcome
    if failure is not None:
        return replace(
            record,
            outcome=Outcome.FAILED_CLOSED,
            failure=failure,
            decision=None,
            finding=None,
            refusal=FAILED_TEXT,
            finish_reason="content_filter",
        )
    if verdict is Outcome.REFUSED:
        return replace(record, outcome=verdict, refusal=REFUSED_TEXTS["reply"], finish_reason="content_filter")
    outcome = verdict if verdict is Outcome.WOULD_REFUSE else record.outcome
    return replace(record, outcome=outcome, answer=reply.text, finish_reason=reply.finish)
