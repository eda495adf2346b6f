"""An https server on loopback that answers every request with what a test prepared, and a fetcher that finds it."""

import asyncio
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

import trustme

from safer_server.fetch import Fetcher
from safer_server.network import CheckedNetwork, Resolve
from waiting import PATIENCE

NAME = "pictures.example"
AT = "messages[2].content[1]"
LIMIT = 100_000
LOOPBACK = (ip_network("127.0.0.0/8"),)

CA = trustme.CA()


def server_tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Make the context of a server with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


SERVER = server_tls(CA.issue_cert(NAME))
CLIENT = ssl.create_default_context()
CA.configure_trust(CLIENT)

Answer = Callable[[ssl.SSLSocket, threading.Event], None]
"""Writes to a connection; the event is set when the test is over."""


@dataclass
class PictureHost:
    """A running server."""

    port: int = 0
    heads: list[str] = field(default_factory=list)
    """The requests that came through, without their bodies."""
    connections: int = 0

    def url(self, path: str = "/cat.png", name: str = NAME) -> str:
        """An URL of this server."""
        return f"https://{name}:{self.port}{path}"


def response(body: bytes, *headers: str, status: str = "200 OK", kind: str = "image/png") -> bytes:
    """Write a response as it goes over the wire."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sending(data: bytes) -> Answer:
    """Answer with these bytes."""
    return lambda connection, _: connection.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or will not trust the certificate, is what many tests are about."""


@contextmanager
def picture_host(answer: Answer, tls: ssl.SSLContext = SERVER) -> Iterator[PictureHost]:
    """Run a server with a certificate."""
    host, over = PictureHost(), threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            host.connections += 1
            with tls.wrap_socket(self.request, server_side=True) as connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    received = connection.recv(65_536)
                    if not received:
                        return
                    head += received
                host.heads.append(head.decode("latin-1"))
                answer(connection, over)

    with _Server(("127.0.0.1", 0), Handler) as server:
        host.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield host
        finally:
            over.set()
            server.shutdown()
            thread.join()


def fetch(
    url: str,
    *hosts: str,
    resolve: Resolve | None = None,
    limit: int = LIMIT,
    seconds: float = PATIENCE,
) -> bytes:
    """Fetch from hosts that are all this machine, unless a resolver is given."""

    async def run() -> bytes:
        fetcher = Fetcher(hosts, limit, seconds, CheckedNetwork(LOOPBACK, resolve or _this_machine), CLIENT)
        try:
            return await fetcher.fetch(url, AT)
        finally:
            await fetcher.close()

    return asyncio.run(run())


async def _this_machine(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]
