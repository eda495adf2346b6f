"""The guard: from a case to a verified decision, and only then to an answer.

Read this file first. Whatever constrained the decoding, every line is parsed and every trace and answer verified here; a case
that does not end in a verified reply fails closed, under a reason of its own.
"""

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass

from safer_protocol.decision import Decision
from safer_protocol.plan import Plan
from safer_protocol.verify import verify
from safer_protocol.violation import Code
from safer_server.answer import Answer
from safer_server.case import Case
from safer_server.deadline import until
from safer_server.engines.base import (
    Constraint,
    ContextLengthError,
    Engine,
    EngineError,
    EngineRequest,
    EngineUnavailableError,
    TokenLimitError,
)
from safer_server.events import Decided, Delivered, Event, Finished
from safer_server.ledger import REFUSED_TEXTS, Ledger
from safer_server.record import BrokenReplyError, Failure

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Guard:
    """Judges cases with one engine, each under the toolkit of its policy; a case that takes longer than `seconds` fails closed."""

    engine: Engine
    seconds: float

    async def judge(self, case: Case, waited: float = 0.0) -> AsyncGenerator[Event, None]:
        """Yield what happens, `Finished` last; closing the iterator cancels the engine.

        `waited` is the time in seconds that the case has spent in the queue. Raises `ContextLengthError` before the first
        event where the conversation is too long; whatever else goes wrong is a failure in the record.
        """
        ledger = Ledger(case, waited)
        try:
            # 1. The engine writes plan, trace and answer in one pass.
            request = EngineRequest(case.turns, case.sampling, case.constraint, case.policy.toolkit)
            async with aclosing(until(self.engine.stream(request), self.seconds)) as pieces:
                async for piece in pieces:
                    ledger.charge(piece)
                    if not ledger.cut:
                        for event in self._advance(ledger, piece.text):
                            yield event
                    if ledger.cut or ledger.stopped or ledger.is_checked:
                        break
            for event in self._close(ledger):
                yield event
        except BrokenReplyError as broken:
            ledger.failure = broken.failure
        except ContextLengthError:
            if not ledger.started:
                raise
            ledger.failure = Failure.ENGINE_FAULT
        except EngineUnavailableError:
            ledger.failure = Failure.ENGINE_FAULT if ledger.started else Failure.ENGINE_UNAVAILABLE
        except TokenLimitError:
            ledger.failure = Failure.TOKEN_LIMIT
        except EngineError:
            ledger.failure = Failure.ENGINE_FAULT
        except TimeoutError:
            ledger.failure = Failure.TIMEOUT
        except Exception:
            # Whatever else goes wrong must end in a counted refusal too, and not in half a reply.
            logger.exception("failed closed on an unexpected error")
            ledger.failure = Failure.INTERNAL
        yield Finished(ledger.record())

    def _advance(self, ledger: Ledger, text: str) -> Iterator[Event]:
        draft, case = ledger.draft, ledger.case
        draft.add(text)
        if ledger.answer is None:
            # 2. Lines of plan and trace are told when they are finished and found sound.
            yield from draft.reasoning()
            ledger.mark()
            if draft.plan is not None and not _is_as_asked(draft.plan, case.constraint):
                raise BrokenReplyError(Failure.NOT_AS_ASKED)
            if draft.section != "answer":
                return
            # 3. The decision counts once plan and trace as a whole are verified.
            ledger.verdict = draft.verdict()
            decision = ledger.decision
            if decision is None:
                raise BrokenReplyError(Failure.INVALID_TRACE)
            if case.coverage.unjudged and case.policy.unjudged == "block" and decision is not Decision.REFUSE:
                raise BrokenReplyError(Failure.UNJUDGED)
            yield Decided(decision)
            if ledger.is_checked:
                return
            ledger.answer = Answer(decision, case.policy.toolkit, case.stop)
        # 4. Only now is the answer delivered, from where its opening agrees with the decision.
        if new := ledger.answer.add(draft.answer_text()):
            yield Delivered(new, ledger.refuses)

    def _close(self, ledger: Ledger) -> Iterator[Event]:
        # 5. A check ends with its decision, for which plan and trace have been verified.
        if ledger.is_checked:
            ledger.report = ledger.verdict
            if ledger.refuses:
                yield Delivered(REFUSED_TEXTS[ledger.case.subject], is_refusal=True)
            return
        # 6. The reply is verified once more as a whole; what was held back is delivered only then.
        answer = ledger.answer
        if answer is None:
            raise BrokenReplyError(Failure.TOKEN_LIMIT if ledger.cut else Failure.UNFINISHED)
        is_cut = ledger.cut or ledger.stopped
        report = verify(ledger.draft.head + answer.closed_text if is_cut else ledger.draft.text, ledger.toolkit)
        unfinished = any(violation.code is Code.INCOMPLETE for violation in report.violations)
        if unfinished or not (is_cut or answer.closed):
            raise BrokenReplyError(Failure.UNFINISHED)
        if not report.valid:
            raise BrokenReplyError(Failure.TOKEN_LIMIT if ledger.cut else Failure.INVALID_ANSWER)
        if rest := answer.cut():
            yield Delivered(rest, ledger.refuses)
        ledger.report = report


def _is_as_asked(plan: Plan, constraint: Constraint) -> bool:
    """Whether the plan is the one that the caller fixed, as far as the caller fixed one."""
    if constraint.plan is not None:
        return plan == constraint.plan
    return constraint.depth is None or plan.depth == constraint.depth
