"""Pictures from https URLs: what a host may answer; every host here is one on loopback."""

import asyncio
import gzip
import socket
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from starlette.testclient import TestClient

from picture_host import AT, CA, LIMIT, NAME, Answer, fetch, picture_host, response, sending, server_tls
from safer_server.errors import ApiError, InvalidRequestError, TooLargeError
from waiting import PATIENCE

FILE = b"not looked at here"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/a/b.png?x=%2F&y=1#part", "/a/b.png?x=%2F&y=1"),
        ("?x=1", "/?x=1"),
        ("#https://evil.example", "/"),
        ("", "/"),
        ("/a@b:c/../d;e", "/a@b:c/../d;e"),
    ],
)
def test_the_request_says_no_more_than_it_must(path: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with picture_host(sending(response(FILE, "Set-Cookie: a=b"))) as host:
        for _ in range(2):
            assert fetch(host.url(path), f"{NAME}:{host.port}") == FILE
    first, second = host.heads
    assert first == second
    line, *headers = first.removesuffix("\r\n\r\n").split("\r\n")
    assert line == f"GET {target} HTTP/1.1"
    sent = dict(header.split(": ", 1) for header in headers)
    assert set(sent) == {"Host", "Connection", "Accept", "Accept-Encoding", "User-Agent"}
    assert (sent["Host"], sent["Accept-Encoding"]) == (f"{NAME}:{host.port}", "identity")


@pytest.mark.parametrize(
    "kind", ["image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif", "IMAGE/PNG; charset=x"]
)
@pytest.mark.parametrize("extra", [(), ("Content-Encoding: identity",)])
def test_pictures_come(kind: str, extra: tuple[str, ...]) -> None:
    with picture_host(sending(response(FILE, *extra, kind=kind))) as host:
        assert fetch(host.url(), f"{NAME}:{host.port}") == FILE


def chunked(*sizes: int) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (size, b"x" * size) for size in sizes)


PNG = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
SECRET = "Xyzzy-Secret"
BOMB = gzip.compress(b"0" * 50_000_000)

ODD_ANSWERS: list[tuple[bytes, str, str]] = [
    # redirects, whereto they may lead
    *(
        (response(b"", f"Location: {place}", status=f"{status} {SECRET}"), "image_fetch_failed", "redirect")
        for status in (301, 302, 303, 307, 308)
        for place in (f"https://{NAME}/{SECRET}", "https://127.0.0.1/", "http://[::1]/", "file:///etc/passwd")
    ),
    (response(FILE, status="300 Choices"), "image_fetch_failed", "redirect"),
    (response(FILE, status="304 Not Modified"), "image_fetch_failed", "redirect"),
    # other statuses, although a picture comes with them
    *(
        (response(FILE, status=status), "image_fetch_failed", "200")
        for status in ("201 Created", "204 None", "206 Partial", "400 Bad", "401 Who", "403 No", "404 None", "500 Oh", "999 X")
    ),
    # encodings
    (response(BOMB, "Content-Encoding: gzip"), "image_fetch_failed", "encoding"),
    (response(FILE, "Content-Encoding: br"), "image_fetch_failed", "encoding"),
    (response(FILE, "Content-Encoding: identity, gzip"), "image_fetch_failed", "encoding"),
    (response(FILE, "Content-Encoding: identity", "Content-Encoding: deflate"), "image_fetch_failed", "encoding"),
    (PNG + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "image_fetch_failed", "failed"),
    # types
    *(
        (response(FILE, kind=kind), "unsupported_image_type", "PNG, JPEG, WebP or GIF")
        for kind in (
            "text/html", "image/svg+xml", "image/avif", "image/heic", "image/bmp", "image/tiff", "image/*", "*/*",
            "application/octet-stream",
            "image/png, text/html", "", SECRET,
        )
    ),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", "unsupported_image_type", "PNG, JPEG, WebP or GIF"),
    (response(FILE, "Content-Type: text/html"), "unsupported_image_type", "PNG, JPEG, WebP or GIF"),
    # more than may come: announced, chunked, without a word
    (PNG + b"Content-Length: 100001\r\n\r\n", "too_large", "100000 bytes"),
    (PNG + b"Content-Length: 99999999999999999999\r\n\r\n", "too_large", "100000 bytes"),
    (chunked(60_000, 40_001), "too_large", "100000 bytes"),
    (PNG + b"\r\n" + b"x" * 100_001, "too_large", "100000 bytes"),
    # what is no answer, or only the beginning of one
    (b"", "image_fetch_failed", "failed"),
    (b"\x00\x01\x02" * 1000, "image_fetch_failed", "failed"),
    (b"SSH-2.0-OpenSSH_9.0\r\n\r\n", "image_fetch_failed", "failed"),
    (b"HTTP/1.1 200 OK\r\n", "image_fetch_failed", "failed"),
    (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000, "image_fetch_failed", "failed"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "image_fetch_failed", "failed"),
    (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "image_fetch_failed", "failed"),
    (PNG + b"Content-Length: 10\r\n\r\n" + FILE[:9], "image_fetch_failed", "failed"),
    (PNG + b"Content-Length: -1\r\n\r\n", "image_fetch_failed", "failed"),
    (PNG + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "image_fetch_failed", "failed"),
    (chunked(10, 10), "image_fetch_failed", "failed"),
    (PNG + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "image_fetch_failed", "failed"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "code", "word"), ODD_ANSWERS, ids=lambda value: str(value)[:60])
def test_what_is_not_plainly_a_picture_is_refused(answer: bytes, code: str, word: str) -> None:
    with picture_host(sending(answer)) as host, pytest.raises(ApiError) as error:
        fetch(host.url(f"/{SECRET}"), f"{NAME}:{host.port}")
    assert (error.value.code, error.value.param) == (code, AT)
    assert isinstance(error.value, TooLargeError if code == "too_large" else InvalidRequestError)
    assert word in error.value.message
    assert host.connections == 1
    for told in (SECRET, NAME, "127.0.0.1", str(host.port)):
        assert told not in error.value.message


def test_the_cap_is_exact() -> None:
    for data in (response(b"x" * LIMIT), PNG + b"\r\n" + b"x" * LIMIT, chunked(60_000, 40_000) + b"0\r\n\r\n"):
        with picture_host(sending(data)) as host:
            assert fetch(host.url(), f"{NAME}:{host.port}") == b"x" * LIMIT


@pytest.mark.parametrize(
    "head", [PNG + b"Content-Length: 1\r\n\r\n", PNG + b"\r\n", PNG + b"Transfer-Encoding: chunked\r\n\r\n"]
)
def test_a_flood_is_not_drunk(head: bytes) -> None:
    """Hundred megabytes stand behind an announcement of one byte, behind none, and in chunks."""
    sent, piece = 0, b"10000\r\n" + b"x" * 65_536 + b"\r\n" if b"chunked" in head else b"x" * 65_536
    broken = threading.Event()

    def flood(connection: ssl.SSLSocket, _: threading.Event) -> None:
        nonlocal sent
        connection.sendall(head)
        try:
            for _number in range(1600):
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            broken.set()

    with picture_host(flood) as host:
        if b"Content-Length" in head:
            assert fetch(host.url(), f"{NAME}:{host.port}") == b"x"
        else:
            with pytest.raises(TooLargeError):
                fetch(host.url(), f"{NAME}:{host.port}")
        assert broken.wait(PATIENCE)
    assert sent < 20_000_000


def silent(connection: ssl.SSLSocket, over: threading.Event) -> None:
    over.wait(PATIENCE)


def trickling(connection: ssl.SSLSocket, over: threading.Event) -> None:
    connection.sendall(PNG + b"\r\n")
    while not over.wait(0.02):
        connection.sendall(b"x")


def trickling_head(connection: ssl.SSLSocket, over: threading.Event) -> None:
    connection.sendall(PNG)
    while not over.wait(0.02):
        connection.sendall(b"X: y\r\n")


@pytest.mark.parametrize("answer", [silent, trickling, trickling_head])
def test_all_of_it_must_come_in_time(answer: Answer) -> None:
    with picture_host(answer) as host, pytest.raises(InvalidRequestError, match="in time") as error:
        fetch(host.url(), f"{NAME}:{host.port}", seconds=0.3)
    assert (error.value.code, error.value.param) == ("image_fetch_failed", AT)


def test_the_resolver_must_answer_in_time() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    with pytest.raises(InvalidRequestError, match="in time"):
        fetch("https://allowed.example", "allowed.example", resolve=resolve, seconds=0.05)


def said_by_the_caller_of(listener: socket.socket) -> bytes:
    """What the first caller sent until it hung up; nothing where nobody has called."""
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return b""
    with connection:
        connection.settimeout(PATIENCE)
        said = b""
        while received := connection.recv(65_536):
            said += received
        return said


def test_the_handshake_must_end_in_time_and_leaves_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port, said = listener.getsockname()[1], b""
        for seconds in (0.1, 1, 10, PATIENCE):  # more where that was too little to begin a handshake
            with pytest.raises(InvalidRequestError, match="in time"):
                fetch(f"https://{NAME}:{port}/", f"{NAME}:{port}", seconds=seconds)
            if said := said_by_the_caller_of(listener):
                break
        assert said


YEAR = timedelta(days=365)
NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    "certificate",
    [
        CA.issue_cert("other.example"),
        CA.issue_cert(f"sub.{NAME}"),
        CA.issue_cert("127.0.0.1"),
        CA.issue_cert("*.pictures.example"),
        CA.issue_cert(NAME, not_before=NOW - 2 * YEAR, not_after=NOW - YEAR),
        CA.issue_cert(NAME, not_before=NOW + YEAR, not_after=NOW + 2 * YEAR),
        trustme.CA().issue_cert(NAME),
    ],
    ids=["other", "below", "address", "wildcard", "expired", "future", "self-made"],
)
def test_a_host_must_prove_its_name(certificate: trustme.LeafCert) -> None:
    with (
        picture_host(sending(response(FILE)), server_tls(certificate)) as host,
        pytest.raises(InvalidRequestError, match="the connection to its host failed") as error,
    ):
        fetch(host.url(), f"{NAME}:{host.port}")
    assert error.value.code == "image_fetch_failed"
    assert host.heads == []


def test_a_host_without_tls_gets_no_request() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        answering = threading.Thread(target=answer_plainly, args=(listener, heard := bytearray()))
        answering.start()
        with pytest.raises(InvalidRequestError, match="failed"):
            fetch(f"https://{NAME}:{port}/", f"{NAME}:{port}")
        answering.join()
    assert heard
    assert b"GET" not in heard


def answer_plainly(listener: socket.socket, heard: bytearray) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(PATIENCE)
        heard += connection.recv(65_536)
        with suppress(ConnectionError):
            connection.sendall(response(FILE))
            heard += connection.recv(65_536)


def test_a_request_may_show_a_picture_by_its_url(
    in_process: Callable[..., TestClient],
    chat_body: Callable[..., dict[str, Any]],
    data_url: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Settings, the system's resolver and the operator's own authority, all the way to coverage or error."""
    authority = tmp_path / "authority.pem"
    CA.cert_pem.write_to_path(str(authority))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    file = b64decode(data_url().partition(",")[2])
    with picture_host(sending(response(file)), server_tls(CA.issue_cert("localhost"))) as host:
        content = [{"type": "image_url", "image_url": {"url": host.url(name="localhost")}}]

        def ask(**settings: Any) -> Any:
            return in_process(**settings).post("/v1/chat/completions", json=chat_body(content)).json()

        listed = {"image_hosts": (f"localhost:{host.port}",)}
        reply = ask(**listed, image_networks=("127.0.0.0/8", "::1/128"))
        assert reply["safer"]["coverage"]["judged"] == [{"part": "messages[0].content[0]", "type": "image"}]
        assert (ask(**listed)["error"]["code"], ask()["error"]["code"]) == ("image_fetch_failed", "invalid_image_url")
        assert ask(**listed, image_networks=("10.0.0.0/8",))["error"]["param"] == "messages[0].content[0]"
        assert host.connections == 1
