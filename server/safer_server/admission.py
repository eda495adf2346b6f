"""Admission: so many requests at once, so many waiting, and a polite no to the rest."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from safer_server.errors import OverloadedError

Watch = Callable[[int, int], None]
"""Is told of every change: how many requests are in flight, and how many wait."""
TurnedAway = Callable[[], None]
"""Is told of every request for which there is no room."""


class Admission:
    """Slots for running requests, given out in the order of arrival."""

    def __init__(
        self,
        max_in_flight: int,
        max_queue: int,
        retry_after: int,
        watch: Watch | None = None,
        turned_away: TurnedAway | None = None,
    ) -> None:
        self.in_flight = 0
        self.waiting = 0
        self._slots = asyncio.Semaphore(max_in_flight)
        self._max_queue = max_queue
        self._retry_after = retry_after
        self._watch = watch
        self._turned_away = turned_away

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it; raise `OverloadedError` where the queue is full."""
        if self._slots.locked() and self.waiting >= self._max_queue:
            if self._turned_away is not None:
                self._turned_away()
            raise OverloadedError(self._retry_after)
        self._count(waiting=1)
        try:
            await self._slots.acquire()
        finally:
            self._count(waiting=-1)
        self._count(in_flight=1)
        try:
            yield
        finally:
            self._count(in_flight=-1)
            self._slots.release()

    def _count(self, *, in_flight: int = 0, waiting: int = 0) -> None:
        self.in_flight += in_flight
        self.waiting += waiting
        if self._watch is not None:
            self._watch(self.in_flight, self.waiting)
