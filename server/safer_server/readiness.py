"""Readiness: the engine answers, and a request of our own has come back verified."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

from safer_protocol.prompt import Turn
from safer_server.case import Case, Coverage, Part
from safer_server.engines.base import Engine
from safer_server.events import Finished
from safer_server.guard import Guard

logger = logging.getLogger(__name__)

_CANARY = Case(
    turns=(Turn("user", ("What is the capital of France?",)),),
    coverage=Coverage((Part("messages[0].content", "text"),)),
)
_LONGEST_PAUSE = 30.0
_LOOK_SECONDS = 0.2


def is_up(engine: Engine) -> bool:
    """Whether a request sent now would be served."""
    return any(replica.up for replica in engine.replicas())


async def until_up(engine: Engine) -> None:
    """Wait for an engine that has been started."""
    while not is_up(engine):
        await asyncio.sleep(_LOOK_SECONDS)


class Readiness:
    """Whether requests should be sent here."""

    def __init__(self, guard: Guard, watch: Callable[[bool], None] | None = None) -> None:
        """`watch` is told what came of each canary."""
        self._guard = guard
        self._watch = watch
        self.canary_passed = False

    def ready(self) -> bool:
        """Whether the canary has passed and the engine is up now."""
        return self.canary_passed and is_up(self._guard.engine)

    async def try_canary(self) -> bool:
        """Ask the guard something harmless; whatever it decides, the reply must verify."""
        async with aclosing(self._guard.judge(_CANARY)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    self.canary_passed = event.record.failure is None
                    if self._watch is not None:
                        self._watch(self.canary_passed)
                    if not self.canary_passed:
                        logger.warning("the canary failed closed: %s", event.record.failure)
        return self.canary_passed

    async def prove(self) -> None:
        """Try the canary until it passes, with growing pauses, as soon as the engine is up."""
        pause = 1.0
        while True:
            await until_up(self._guard.engine)
            if await self.try_canary():
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
