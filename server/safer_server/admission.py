"""Admission: so many requests at once, so many waiting, and a polite no to the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from safer_server.errors import OverloadedError


class Admission:
    """Slots for running requests, given out in the order of arrival."""

    def __init__(self, max_in_flight: int, max_queue: int, retry_after: int) -> None:
        self.in_flight = 0
        self.waiting = 0
        self._slots = asyncio.Semaphore(max_in_flight)
        self._max_queue = max_queue
        self._retry_after = retry_after

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it; raise `OverloadedError` where the queue is full."""
        if self._slots.locked() and self.waiting >= self._max_queue:
            raise OverloadedError(self._retry_after)
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._slots.release()
