"""Ports of loopback for servers that have to be told one."""

import secrets
import socket
from contextlib import suppress


def free_port() -> int:
    """Find a port that nobody listens on, by chance and below those that a kernel hands out: it stays free until it is used."""
    while True:
        port = 12_000 + secrets.randbelow(20_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
