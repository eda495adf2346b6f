"""A scripted engine that never ends one of its replies, for tests of clients that go away."""

import asyncio
import threading
from collections.abc import AsyncGenerator

from safer_server.engines.base import EngineRequest, Piece
from safer_server.engines.scripted import ScriptedEngine, Take, table


class WaitingEngine(ScriptedEngine):
    """Waits for ever in the middle of its reply to `wait`, and says when it began and when it was closed."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(table({"wait": Take(text, wait_at=at, event=asyncio.Event())}))
        self.began = threading.Event()
        self.closed = threading.Event()

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Piece, None]:
        """Yield the scripted reply."""
        waits = request.turns[-1].text == "wait"
        try:
            async for piece in super().stream(request):
                if waits:
                    self.began.set()
                yield piece
        finally:
            if waits:
                self.closed.set()
