"""What a server in this process has to do at the moment, so that a test can say that nothing was left behind."""

import asyncio
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from safer_server.engines.base import EngineRequest, Piece
from safer_server.engines.scripted import ScriptedEngine
from waiting import PATIENCE


class CountingEngine(ScriptedEngine):
    """Knows how many replies it is writing."""

    running = 0

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Piece, None]:
        """Write one."""
        self.running += 1
        try:
            async for piece in super().stream(request):
                yield piece
        finally:
            self.running -= 1


@dataclass(frozen=True)
class Load:
    """Tasks of the event loop, open files and sockets of the process, replies being written."""

    tasks: int
    files: int
    replies: int

    def __le__(self, other: "Load") -> bool:
        """Whether nothing is more: what an earlier test left open may be closed meanwhile."""
        return self.tasks <= other.tasks and self.files <= other.files and self.replies <= other.replies


def load_of(loop: asyncio.AbstractEventLoop, engine: CountingEngine) -> Load:
    """Look now, from another thread than the loop's."""

    async def tasks() -> int:
        return len(asyncio.all_tasks())

    counted = asyncio.run_coroutine_threadsafe(tasks(), loop).result(PATIENCE)
    return Load(counted, len(os.listdir("/proc/self/fd")), engine.running)
