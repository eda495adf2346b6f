"""uvicorn in a thread, on loopback: it says when it listens, and stops as soon as it is told to."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from waiting import PATIENCE


class ThreadedServer(uvicorn.Server):
    """One server."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()
        self._told = asyncio.Event()

    @property
    def listener(self) -> Any:
        """Its socket; connections take over its options."""
        return self.servers[0].sockets[0]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    async def main_loop(self) -> None:
        """Wait to be told, where uvicorn looks ten times a second."""
        await self.on_tick(0)
        self.loop = asyncio.get_running_loop()
        self.listening.set()
        await self._told.wait()

    def stop(self) -> None:
        """Tell it, from another thread."""
        self.loop.call_soon_threadsafe(self._told.set)


@contextmanager
def serving_app(app: Any, **options: Any) -> Iterator[ThreadedServer]:
    """Serve on a free port, with options of uvicorn's; a client that pauses finds its connection as it left it."""
    config = uvicorn.Config(app, **{"port": 0, "log_config": None, "timeout_keep_alive": PATIENCE, **options})
    server = ThreadedServer(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert server.listening.wait(PATIENCE)
    try:
        yield server
    finally:
        server.stop()
        thread.join(PATIENCE)
    assert not thread.is_alive()
