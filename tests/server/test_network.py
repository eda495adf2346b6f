"""Names are resolved once, all their addresses judged, and only what was judged is connected to."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from ipaddress import ip_network

import httpcore
import pytest

from safer_server.network import AddressError, CheckedNetwork, Resolve, resolve
from waiting import PATIENCE

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class Listener:
    """A port of this machine that counts who comes."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]

    def callers(self) -> int:
        count = 0
        while True:
            try:
                connection, _ = self.socket.accept()
            except BlockingIOError:
                return count
            connection.close()
            count += 1


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.socket.close()


def scripted(*replies: Sequence[str]) -> tuple[Resolve, list[str]]:
    """A resolver that gives one reply after another, and the names that it was asked for."""
    left, asked = list(replies), list[str]()

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return left.pop(0)

    return resolve, asked


def connect(network: CheckedNetwork, port: int, times: int = 1, timeout: float | None = PATIENCE) -> None:
    async def run() -> None:
        for _ in range(times):
            stream = await network.connect_tcp("pictures.example", port, timeout)
            await stream.aclose()

    asyncio.run(run())


def test_an_allowed_address_is_connected_to(listener: Listener) -> None:
    resolver, asked = scripted(["127.0.0.1"])
    connect(CheckedNetwork(LOOPBACK, resolver), listener.port)
    assert (listener.callers(), asked) == (1, ["pictures.example"])


@pytest.mark.parametrize(
    "addresses",
    [
        [],
        ["127.0.0.1"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
        ["8.8.8.8", "::1"],
        ["8.8.8.8", "::ffff:127.0.0.1"],
        ["2606:4700::1111", "169.254.169.254"],
        ["64:ff9b::7f00:1"],
        ["fe80::1%eth0"],
        ["8.8.8.8", "localhost"],
    ],
)
def test_one_address_that_is_not_allowed_forbids_all(listener: Listener, addresses: list[str]) -> None:
    resolver, _ = scripted(addresses)
    with pytest.raises(AddressError) as error:
        connect(CheckedNetwork((), resolver), listener.port)
    assert not any(address in str(error.value) for address in addresses)
    assert listener.callers() == 0


def test_a_second_answer_leads_nowhere(listener: Listener) -> None:
    """The resolver says something public while it is judged, and loopback ever after."""
    opened: list[str] = []

    class Tcp(httpcore.AnyIOBackend):
        async def connect_tcp(self, host: str, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
            opened.append(host)
            raise httpcore.ConnectError("no network in tests")

    resolver, asked = scripted(["1.1.1.1"], ["127.0.0.1"], ["127.0.0.1"])
    network = CheckedNetwork((), resolver)
    network._tcp = Tcp()
    with pytest.raises(httpcore.ConnectError, match="no network"):
        connect(network, listener.port)
    assert (opened, len(asked)) == (["1.1.1.1"], 1)
    with pytest.raises(AddressError):
        connect(network, listener.port)
    assert (opened, len(asked), listener.callers()) == (["1.1.1.1"], 2, 0)


def test_the_next_address_is_tried_where_one_does_not_answer(listener: Listener) -> None:
    resolver, asked = scripted(["127.0.0.2", "::1", "127.0.0.1"])
    connect(CheckedNetwork(LOOPBACK, resolver), listener.port)
    assert (listener.callers(), len(asked)) == (1, 1)


def test_no_address_answers() -> None:
    resolver, _ = scripted(["127.0.0.1", "127.0.0.2"])
    with socket.socket() as taken:  # and silent: a port that is given back may be the next one that somebody listens on
        taken.bind(("", 0))
        with pytest.raises(httpcore.ConnectError):
            connect(CheckedNetwork(LOOPBACK, resolver), taken.getsockname()[1])


def test_a_resolver_that_fails_is_a_failed_connection() -> None:
    async def failing(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(httpcore.ConnectError, match="gaierror"):
        connect(CheckedNetwork((), failing), 443)


def test_the_system_s_resolver_gives_each_address_once() -> None:
    addresses = asyncio.run(resolve("localhost", 443))
    assert set(addresses) <= {"127.0.0.1", "::1"}
    assert len(addresses) == len(set(addresses)) > 0


def test_nothing_goes_over_a_connection_without_tls(listener: Listener) -> None:
    async def run() -> None:
        resolver, _ = scripted(["127.0.0.1"])
        network = CheckedNetwork(LOOPBACK, resolver)
        with pytest.raises(NotImplementedError):
            await network.connect_unix_socket("/run/a")
        stream = await network.connect_tcp("pictures.example", listener.port)
        with pytest.raises(NotImplementedError):
            await stream.write(b"x")
        await stream.aclose()

    asyncio.run(run())
