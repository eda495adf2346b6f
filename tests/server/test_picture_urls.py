"""Pictures from https URLs: which URLs are asked for at all."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from picture_host import AT, fetch
from safer_server.errors import ApiError, InvalidRequestError
from safer_server.fetch import MAX_URL
from safer_server.settings import Settings


async def no_resolver(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"{host}:{port} was looked up")


ODD_URLS = [
    # other schemes, and none
    "file:///etc/passwd", "ftp://allowed.example/a", "gopher://allowed.example/a", "http://allowed.example/a",
    "HTTP://allowed.example/a",
    "blob:https://allowed.example/a", "javascript:alert(1)", "ws://allowed.example/", "unix:/run/a", "//allowed.example/a",
    "allowed.example/a", "", "https", "https:", "https:/", "https://", "https:///a", "https:allowed.example/a",
    "https:/allowed.example/a",
    "https:\\\\allowed.example\\a", "http\u017f://allowed.example/a", " https://allowed.example/a", "https://allowed.example/a ",
    "https ://allowed.example/a", "\x00https://allowed.example/a", "jar:https://allowed.example/a!/b",
    "view-source:https://allowed.example",
    # users, and what different readers split differently
    "https://allowed.example@evil.example/", "https://user:word@allowed.example/a", "https://@allowed.example/a",
    "https://evil.example@allowed.example/a", "https://evil.example:443@allowed.example/",
    "https://allowed.example:443@evil.example/",
    "https://allowed.example%00.evil.example/", "https://allowed.example\x00.evil.example/",
    "https://allowed.example%2eevil.example/",
    "https://allowed.example\\@evil.example/", "https://evil.example\\@allowed.example/",
    "https://evil.example\\.allowed.example/",
    "https://allowed.example\\evil.example", "https://evil.example;allowed.example/", "https://evil.example,allowed.example/",
    "https://allowed.example%40evil.example/", "https://evil.example#@allowed.example/", "https://evil.example?@allowed.example/",
    "https://evil.example/https://allowed.example/", "https://allowed.example.evil.example/", "https://evilallowed.example/",
    "https://sub.allowed.example/", "https://allowed/", "https://example/", "https://allowed.example evil.example/",
    "https://allowed.example\tevil/", "https://allowed.example\r\nHost: evil.example/", "https://allowed.example/a\r\nX: y",
    "https://allowed.example/a\nb", "https://allowed.example/a b", "https://allowed.example/a\\b", "https://allowed.example/%zz",
    "https://allowed.example/%", "https://allowed.example/\u00e9", "https://allowed.example/<a>",
    "https://allowed.example/a#b\nc",
    'https://allowed.example/"', "https://allowed.example/a|b", "https://allowed.example/[", "https://[allowed.example]/",
    # ports
    "https://allowed.example:80/", "https://allowed.example:8443/", "https://allowed.example:/", "https://allowed.example:0/",
    "https://allowed.example:0443/", "https://allowed.example:443443/", "https://allowed.example:65979/",
    "https://allowed.example:-443/",
    "https://allowed.example:+443/", "https://allowed.example: 443/", "https://allowed.example:4_43/",
    "https://allowed.example:\uff14\uff14\uff13/",
    "https://allowed.example:443:443/", "https://allowed.example:443a/", "https://ported.example/", "https://ported.example:443/",
    # dots, dashes, other scripts
    "https://allowed.example./", "https://.allowed.example/", "https://allowed..example/", "https://allowed\u3002example/",
    "https://allowed\uff0eexample/", "https://\uff41\uff4c\uff4c\uff4f\uff57\uff45\uff44.example/",
    "https://ALLOWED.EXAMPLE\u212a/", "https://allowed.exampl\u0435/",
    "https://\u24d0llowed.example/", "https://allowed\u00ad.example/", "https://allowed.example\u200b/",
    "https://xn--allowed-.example/",
    "https://xn--llowed-4nf.example/", "https://-allowed.example/", "https://allowed_.example/", "https://bu\u0308cher.example/",
    "https://b\u00fccher.example/",
    # addresses, in every spelling
    "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://017700000001/", "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0177.0.0.1/", "https://127.0.0.1./", "https://0/", "https://169.254.169.254/latest/meta-data/",
    "https://\u2460\u2461\u2466.0.0.1/",
    "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[0:0:0:0:0:0:0:1]/", "https://[::]/", "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/", "https://[64:ff9b::7f00:1]/", "https://[fc00::1]/", "https://[::1", "https://::1/",
    "https://[v1.a]/",
    "https://localhost/", "https://LOCALHOST/", "https://localhost.localdomain/", "https://metadata.google.internal/",
    "https://allowed.example/" + "a" * MAX_URL,
]  # fmt: skip


@pytest.mark.parametrize("url", ODD_URLS, ids=lambda url: ascii(url)[:60])
def test_what_is_not_plainly_an_allowed_url_is_refused_unasked(url: str) -> None:
    with pytest.raises(InvalidRequestError) as error:
        fetch(url, "allowed.example", "ported.example:8443", "xn--bcher-kva.example", resolve=no_resolver)
    assert (error.value.param, error.value.code) == (AT, "invalid_image_url")
    assert not any(word in error.value.message for word in ("evil", "allowed.example", "127"))


@given(url=st.text(max_size=60) | st.text(max_size=30).map(lambda text: f"https://allowed.example{text}"))
def test_any_text_leads_to_the_allowed_host_or_nowhere(url: str) -> None:
    asked: list[tuple[str, int]] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        raise OSError("no network in tests")

    with pytest.raises(ApiError) as error:
        fetch(url, "allowed.example", resolve=resolve)
    assert error.value.code in ("invalid_image_url", "image_fetch_failed")
    assert set(asked) <= {("allowed.example", 443)}


@pytest.mark.parametrize(
    ("url", "host", "asked"),
    [
        ("https://allowed.example", "allowed.example", ("allowed.example", 443)),
        ("HTTPS://Allowed.EXAMPLE/a", "allowed.example", ("allowed.example", 443)),
        ("https://allowed.example:443/a", "allowed.example", ("allowed.example", 443)),
        ("https://allowed.example/a", "allowed.example:443", ("allowed.example", 443)),
        ("https://allowed.example:8443/a", "allowed.example:8443", ("allowed.example", 8443)),
        ("https://xn--bcher-kva.example/a", "xn--bcher-kva.example", ("xn--bcher-kva.example", 443)),
        ("https://minio:9000/a", "minio:9000", ("minio", 9000)),
    ],
)
def test_an_allowed_host_is_asked_for(url: str, host: str, asked: tuple[str, int]) -> None:
    seen: list[tuple[str, int]] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        seen.append((host, port))
        raise OSError

    with pytest.raises(InvalidRequestError) as error:
        fetch(url, host, resolve=resolve)
    assert (seen, error.value.code) == ([asked], "image_fetch_failed")


@pytest.mark.parametrize(
    "host", ["minio", "a.example", "a-b.c1.example:8443", "xn--bcher-kva.example", "a.example:65535"]
)
def test_a_host_may_be_listed(host: str) -> None:
    assert Settings(image_hosts=(host,)).image_hosts == (host,)


@pytest.mark.parametrize(
    "host",
    [
        "", "*", "*.example", ".example", "a.example.", "https://a.example", "a.example/", "a.example/b", "u@a.example",
        "a_b.example",
        "A.example", "b\u00fccher.example", "a.example:", "a.example:0", "a.example:x", "a.example:443:443", "a b", "a.example\n",
        "-a.example", "a-.example", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "a.0x1", "a.1", "[::1]", "::1", "l" * 64,
    ],
)  # fmt: skip
def test_what_is_no_host_name_may_not(host: str) -> None:
    with pytest.raises(ValidationError):
        Settings(image_hosts=(host,))
