"""`safer`, with an engine that the test holds: workers are spawned from this file, so it is theirs as well.

A reply to "wait" stops half way until the file named by GATE exists; once that named by FAULT exists, no engine opens any more.
"""

import asyncio
import os
from pathlib import Path
from typing import Any, Literal

from safer_protocol.text import print_reply
from safer_server.cli import app
from safer_server.engines import table
from safer_server.engines.base import Engine, EngineRequest
from safer_server.engines.markers import by_markers
from safer_server.engines.scripted import ScriptedEngine, Take


class Gate(asyncio.Event):
    """Is set once a file exists."""

    async def wait(self) -> Literal[True]:
        """Look for the file again and again; the server's own limits end it."""
        while not Path(os.environ["GATE"]).exists():
            await asyncio.sleep(0.02)
        return True


def gated(request: EngineRequest) -> Take:
    """Write what the shipped script writes, with a stop where that is asked for."""
    held = request.turns[-1].text == "wait"
    return Take(print_reply(by_markers(request), request.toolkit), wait_at=20 if held else None, event=Gate())


def open_gated(*_: Any, **__: Any) -> Engine:
    """Open the engine, or fail as a broken checkpoint would."""
    if Path(os.environ["FAULT"]).exists():
        raise RuntimeError("the weights are broken")
    return ScriptedEngine(gated)


table.open_engine = open_gated

if __name__ == "__main__":
    app()
