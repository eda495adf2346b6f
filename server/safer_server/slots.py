"""Requests of a key at once: so many slots, held in this process, or in Redis for all servers together."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from anyio import CapacityLimiter, WouldBlock
from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockNotOwnedError, RedisError

logger = logging.getLogger(__name__)

LEASE_SECONDS = 30.0
"""So long after a server's death its slots in Redis are free again."""


class NoSlotError(Exception):
    """All slots of a key are taken."""


class Slots(Protocol):
    """Where slots are counted."""

    def hold(self, name: str, capacity: int) -> AbstractAsyncContextManager[None]:
        """Hold one of so many slots of that name; raise `NoSlotError` at once where there is none."""


class MemorySlots:
    """The slots of one process."""

    def __init__(self) -> None:
        self._limiters: dict[str, CapacityLimiter] = {}

    @asynccontextmanager
    async def hold(self, name: str, capacity: int) -> AsyncIterator[None]:
        """Hold a slot."""
        limiter, holder = self._limiters.setdefault(name, CapacityLimiter(capacity)), object()
        try:
            limiter.acquire_on_behalf_of_nowait(holder)
        except WouldBlock:
            raise NoSlotError from None
        try:
            yield
        finally:
            limiter.release_on_behalf_of(holder)


class RedisSlots:
    """The slots of all servers: each is a lock that expires unless its holder goes on renewing it."""

    def __init__(self, redis: Redis, lease: float = LEASE_SECONDS) -> None:
        self._redis = redis
        self._lease = lease

    @asynccontextmanager
    async def hold(self, name: str, capacity: int) -> AsyncIterator[None]:
        """Hold a slot; raise `RedisError` where none can be asked for, but not once it is held."""
        lock = await self._acquire([f"safer:slot:{name}:{number}" for number in range(capacity)])
        renewal = asyncio.create_task(self._renew(lock, name))
        try:
            yield
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)
            try:
                await lock.release()
            except RedisError as error:
                logger.warning("a slot of the key %s could not be given back and will expire: %s", name, error)

    async def _acquire(self, slots: list[str]) -> Lock:
        holders = await self._redis.mget(slots)
        for slot in (slot for slot, holder in zip(slots, holders, strict=True) if holder is None):
            lock = Lock(self._redis, slot, timeout=self._lease, thread_local=False)
            if await lock.acquire(blocking=False):
                return lock
        raise NoSlotError

    async def _renew(self, lock: Lock, name: str) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await lock.reacquire()
            except LockNotOwnedError:
                logger.warning("a slot of the key %s is lost: Redis has forgotten it", name)
                return
            except RedisError as error:
                logger.warning("a slot of the key %s could not be renewed: %s", name, error)
