"""The network as pictures are fetched through it: a name is resolved, its addresses are judged, and only those are connected to."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack

import httpcore

from safer_server.addresses import Networks, is_allowed

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Finds the addresses of a host, for a port; raises OSError where there are none."""


class AddressError(httpcore.ConnectError):
    """A host has an address that must not be connected to."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Connection(httpcore.AsyncNetworkStream):
    """A connection that is good for TLS alone: nothing can be sent over it as it is."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        """Take the connection."""
        self._stream = stream

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Return the connection under TLS; close it where that fails or, which httpcore does not look after, is cancelled."""
        async with AsyncExitStack() as failed:
            failed.push_async_callback(self.aclose)
            secured = await self._stream.start_tls(ssl_context, server_hostname, timeout)
            failed.pop_all()
        return secured

    async def aclose(self) -> None:
        """Close it."""
        await self._stream.aclose()


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to allowed addresses alone; a name that has any other is not connected to at all.

    A name is resolved once for each connection, and the connection goes to an address out of that very answer, so that a second
    answer cannot lead elsewhere. TLS still verifies the name.
    """

    def __init__(self, networks: Networks, resolve: Resolve = resolve) -> None:
        """Take the networks that are allowed beside global addresses."""
        self._networks = networks
        self._resolve = resolve
        self._tcp = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> Connection:
        """Connect to the first address that answers; each gets its share of the time."""
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"{type(error).__name__} from the resolver") from error
        if not addresses or not all(is_allowed(address, self._networks) for address in addresses):
            raise AddressError("not all of the host's addresses are allowed")
        share = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            try:
                return Connection(await self._tcp.connect_tcp(address, port, share, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return Connection(await self._tcp.connect_tcp(addresses[-1], port, share, local_address, socket_options))
