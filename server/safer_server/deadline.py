"""An end to waiting for a stream."""

import asyncio
from collections.abc import AsyncGenerator
from typing import TypeVar

Item = TypeVar("Item")


async def until(items: AsyncGenerator[Item, None], seconds: float) -> AsyncGenerator[Item, None]:
    """Pass items on for at most `seconds`; raise TimeoutError then, and close their iterator in any case."""
    deadline = asyncio.get_running_loop().time() + seconds
    try:
        while True:
            async with asyncio.timeout_at(deadline):
                item = await anext(items, None)
            if item is None:
                return
            yield item
    finally:
        await items.aclose()
