"""What is left to a key: requests in a time and requests at once, counted in this process, or in Redis for all servers."""

import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from safer_server.errors import ConcurrencyLimitError, LimitsUnavailableError
from safer_server.keys import KeyEntry
from safer_server.slots import MemorySlots, NoSlotError, RedisSlots, Slots

_REDIS_SECONDS = 1.0
"""Longest wait for Redis to accept a connection, and to answer."""

_UNAVAILABLE = "The limits of this key cannot be checked now."


@dataclass(frozen=True)
class Window:
    """How a key stands after a request was counted."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    """Until a request is free again, rounded up."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The same as OpenAI's API tells it."""
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{self.reset_seconds}s",
        }


class Quotas:
    """Counts the requests of keys; raises `LimitsUnavailableError` where it cannot."""

    def __init__(
        self,
        storage: MemoryStorage | RedisStorage,
        slots: Slots,
        retry_after: int,
        pool: BlockingConnectionPool | None = None,
    ) -> None:
        self._rates = MovingWindowRateLimiter(storage)
        self._slots = slots
        self._retry_after = retry_after
        self._pool = pool

    async def count(self, key: KeyEntry) -> Window | None:
        """Count a request, unless it is one too many; None for a key without a rate."""
        limit = key.rate_limit
        if limit is None:
            return None
        try:
            allowed = await self._rates.hit(limit, key.name)
            stats = await self._rates.get_window_stats(limit, key.name)
        except RedisError as error:
            raise LimitsUnavailableError(_UNAVAILABLE) from error
        reset_seconds = max(1, math.ceil(stats.reset_time - time.time()))
        return Window(allowed, limit.amount, stats.remaining, reset_seconds)

    @asynccontextmanager
    async def place(self, key: KeyEntry) -> AsyncIterator[None]:
        """Hold a request's place among those at once; raise `ConcurrencyLimitError` where there is none left."""
        async with AsyncExitStack() as stack:
            if key.concurrency is not None:
                try:
                    await stack.enter_async_context(self._slots.hold(key.name, key.concurrency))
                except NoSlotError:
                    message = "This key has as many requests at work as it may have at once."
                    raise ConcurrencyLimitError(message, self._retry_after) from None
                except RedisError as error:
                    raise LimitsUnavailableError(_UNAVAILABLE) from error
            yield

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.aclose()


def open_quotas(url: str, retry_after: int) -> Quotas:
    """Count in memory, or where a Redis URL says; connects when there is something to count."""
    if url == "memory://":
        return Quotas(MemoryStorage(), MemorySlots(), retry_after)
    pool = BlockingConnectionPool.from_url(
        url,
        timeout=_REDIS_SECONDS,
        socket_timeout=_REDIS_SECONDS,
        socket_connect_timeout=_REDIS_SECONDS,
        retry=Retry(NoBackoff(), 1),  # once, for a connection that Redis has closed meanwhile
    )
    storage = RedisStorage(
        url,
        implementation="redispy",
        key_prefix="safer:rate",
        connection_pool=pool,  # type: ignore[arg-type]  # the annotation forgets what the docstring offers
    )
    return Quotas(storage, RedisSlots(Redis(connection_pool=pool)), retry_after, pool)
