"""The headers by which another server learns of which trace its work is a part (W3C trace context)."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from contextvars import ContextVar
from types import MappingProxyType
from typing import TypeVar

Item = TypeVar("Item")

OUTGOING: ContextVar[Mapping[str, str]] = ContextVar("outgoing", default=MappingProxyType({}))
"""What a request sent now has to carry; nothing where nothing is traced."""


async def sending(headers: Mapping[str, str], items: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
    """Pass items on; what is sent to get them carries these headers, whichever task asks for them."""
    async with aclosing(items):
        while True:
            token = OUTGOING.set(headers)
            try:
                item = await anext(items, None)
            finally:
                OUTGOING.reset(token)
            if item is None:
                return
            yield item
