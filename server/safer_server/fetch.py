"""Fetching a picture from an `https:` URL, for hosts that the operator named and with every cap checked while it arrives."""

import asyncio
import logging
import re
import ssl
from collections.abc import Iterable, Mapping

import httpcore

from safer_server.errors import InvalidRequestError, TooLargeError
from safer_server.network import AddressError, CheckedNetwork

logger = logging.getLogger(__name__)

IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif"})

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PORT = "[1-9][0-9]{0,4}"

HOST_PATTERN = rf"^(?:{_LABEL}\.)*[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?(?::{_PORT})?$"
"""A host name with or without a port. An IPv4 address has no last label that begins with a letter, however it is written."""

MAX_URL = 8192
"""Longest URL in characters: signed ones are long, and what servers take in a line ends here."""

# Only what every reader of URLs understands alike: no user, no brackets, no escapes in the host, no backslash anywhere.
_URL = re.compile(
    rf"https://((?:{_LABEL}\.)*{_LABEL})(?::({_PORT}))?([/?](?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{{2}})*)?(?:#.*)?",
    re.IGNORECASE | re.ASCII,
)
_HTTPS_PORT = 443
_REDIRECTS = range(300, 400)
_HEADERS = (
    (b"Connection", b"close"),
    (b"Accept", ", ".join(sorted(IMAGE_TYPES)).encode()),
    (b"Accept-Encoding", b"identity"),
    (b"User-Agent", b"safer-toolkit"),
)


class Fetcher:
    """Fetches files of at most `limit` bytes within `seconds`; no host is asked that is not among `hosts`."""

    def __init__(
        self, hosts: Iterable[str], limit: int, seconds: float, network: CheckedNetwork, tls: ssl.SSLContext
    ) -> None:
        """Take the hosts as `name` or `name:port`."""
        self._origins = frozenset(_origin(host) for host in hosts)
        self._limit = limit
        self._seconds = seconds
        # A connection serves one picture: what a host sends too much can then not be taken for the answer to another request.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls, network_backend=network, max_connections=None, max_keepalive_connections=0
        )

    async def fetch(self, url: str, param: str) -> bytes:
        """Return the file behind an `https:` URL; raise the `ApiError` that says why there is none, and names `param`."""
        target = self._target(url, param)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._get(target, param)
        except AddressError as error:
            reason, message = str(error), "its host has an address that is not allowed"
        except (TimeoutError, httpcore.TimeoutException):
            reason = message = "it did not come in time"
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            reason, message = str(error), "the connection to its host failed"
        logger.warning("no picture from %s: %s", target.host.decode(), reason)
        raise _failed(message, param)

    def _target(self, url: str, param: str) -> httpcore.URL:
        """Take a URL apart; whatever is not plainly a URL of an allowed host is refused."""
        found = _URL.fullmatch(url) if len(url) <= MAX_URL else None
        if found is None:
            message = f"{param}: the URL must be a data: URL, or https://HOST/PATH of at most {MAX_URL} characters"
            raise InvalidRequestError(message, param=param, code="invalid_image_url")
        host, port, path = found.groups(default="")
        origin = (host.lower(), int(port or _HTTPS_PORT))
        if origin not in self._origins:
            message = f"{param}: this server fetches no pictures from the host of this URL"
            raise InvalidRequestError(message, param=param, code="invalid_image_url")
        path = path if path.startswith("/") else f"/{path}"
        return httpcore.URL(scheme=b"https", host=origin[0].encode(), port=origin[1], target=path.encode())

    async def _get(self, target: httpcore.URL, param: str) -> bytes:
        timeouts = {"timeout": {"connect": self._seconds}}
        async with self._pool.stream("GET", target, headers=_HEADERS, extensions=timeouts) as response:
            self._check_head(response, param)
            file = bytearray()
            async for chunk in response.aiter_stream():
                file += chunk
                if len(file) > self._limit:
                    raise self._too_large(param)
        return bytes(file)

    def _check_head(self, response: httpcore.Response, param: str) -> None:
        """Judge status and headers before the body is read."""
        if response.status in _REDIRECTS:
            raise _failed("its host answers with a redirect, and redirects are not followed", param)
        if response.status != 200:
            raise _failed("its host does not answer with status 200", param)
        headers = _combined(response.headers)
        if headers.get("content-encoding", "identity") != "identity":
            raise _failed("its host sends it with a content encoding", param)
        if headers.get("content-type", "").partition(";")[0].strip() not in IMAGE_TYPES:
            message = f"{param}: the host of the picture does not declare it to be a PNG, JPEG, WebP or GIF"
            raise InvalidRequestError(message, param=param, code="unsupported_image_type")
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._limit:
            raise self._too_large(param)

    def _too_large(self, param: str) -> TooLargeError:
        return TooLargeError(f"{param}: the picture is larger than {self._limit} bytes", param=param)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


def _origin(host: str) -> tuple[str, int]:
    name, _, port = host.partition(":")
    return name, int(port or _HTTPS_PORT)


def _combined(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Headers in lower case; one that is sent several times has all its values, so that it is nothing that is known."""
    combined: dict[str, str] = {}
    for key, value in headers:
        name, text = key.decode("latin-1").lower(), value.decode("latin-1").strip().lower()
        combined[name] = f"{combined[name]}, {text}" if name in combined else text
    return combined


def _failed(message: str, param: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{param}: the picture could not be fetched: {message}", param=param, code="image_fetch_failed"
    )
