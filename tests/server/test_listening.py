"""A real server with what `safer serve` tells uvicorn: whom it believes, and HTTPS."""

import http.client
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from certificates import Certificate, make_certificate
from safer_server.app import create_app
from safer_server.cli import app as cli
from safer_server.engines.scripted import ScriptedEngine
from safer_server.settings import Settings
from safer_server.workers import server_options
from threaded_server import serving_app
from waiting import PATIENCE, wait_for


@dataclass(frozen=True)
class Listening:
    """A real server with what `safer serve` tells uvicorn, and its log."""

    port: int
    log: pytest.LogCaptureFixture

    def clients(self) -> list[str]:
        """The addresses of the access log."""
        return [record.access["client"] for record in self.log.records if hasattr(record, "access")]


@pytest.fixture
def listening(server_log: pytest.LogCaptureFixture) -> Iterator[Callable[..., Listening]]:
    """Start one: `listening(**settings)`."""
    with ExitStack() as running:

        def start(**given: Any) -> Listening:
            settings = Settings(port=0, **given)
            options = {**server_options(settings), "log_config": None}
            server = running.enter_context(serving_app(create_app(settings, ScriptedEngine()), **options))
            return Listening(server.listener.getsockname()[1], server_log)

        yield start


FORWARDED = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}


@pytest.mark.parametrize(
    ("trusted", "sent", "seen"),
    [
        ([], {}, "127.0.0.2"),
        ([], FORWARDED, "127.0.0.2"),
        (["127.0.0.1", "10.0.0.0/8"], FORWARDED, "127.0.0.2"),
        (["127.0.0.2"], FORWARDED, "203.0.113.7"),
        (["127.0.0.0/29"], FORWARDED, "203.0.113.7"),
        (["127.0.0.2"], {}, "127.0.0.2"),
        (["127.0.0.2"], {"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}, "203.0.113.7"),
        (["127.0.0.2", "203.0.113.7"], {"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}, "198.51.100.1"),
    ],
)
def test_only_a_trusted_proxy_says_who_the_client_is(
    listening: Callable[..., Listening],
    monkeypatch: pytest.MonkeyPatch,
    trusted: list[str],
    sent: dict[str, str],
    seen: str,
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own, which must not open what the settings close
    server = listening(trusted_proxies=trusted)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE, source_address=("127.0.0.2", 0))
    connection.request("GET", "/healthz", headers=sent)
    assert connection.getresponse().status == 200
    connection.close()
    wait_for(server.clients)  # the line comes after the response
    assert server.clients() == [seen]


@pytest.mark.parametrize("wrong", ["*", "proxy", "10.0.0.0/33", ""])
def test_only_addresses_and_networks_can_be_trusted(wrong: str) -> None:
    with pytest.raises(ValidationError):
        Settings(trusted_proxies=[wrong])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_https_with_a_certificate(listening: Callable[..., Listening], certificate: Certificate) -> None:
    server = listening(tls_certificate=certificate.chain, tls_key=certificate.key)
    with httpx.Client(verify=certificate.trust, trust_env=False, timeout=PATIENCE) as client:
        assert client.get(f"https://127.0.0.1:{server.port}/version").json()["engine"] == "scripted"
        with pytest.raises(httpx.TransportError):
            client.get(f"http://127.0.0.1:{server.port}/version")
    with (
        httpx.Client(verify=ssl.create_default_context(), trust_env=False, timeout=PATIENCE) as stranger,
        pytest.raises(httpx.ConnectError),
    ):
        stranger.get(f"https://127.0.0.1:{server.port}/version")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SAFER_TLS_KEY": "key.pem"}, "set both or neither"),
        ({"SAFER_TLS_CERTIFICATE": "chain.pem"}, "set both or neither"),
        (
            {"SAFER_TLS_CERTIFICATE": "chain.pem", "SAFER_TLS_KEY": "absent.pem"},
            "SAFER_TLS_KEY (--tls-key): Path does not",
        ),
        ({"SAFER_TLS_CERTIFICATE": "key.pem", "SAFER_TLS_KEY": "chain.pem"}, "SAFER_TLS_CERTIFICATE, SAFER_TLS_KEY: "),
        (
            {"SAFER_TLS_CERTIFICATE": "chain.pem", "SAFER_TLS_KEY": "other.pem"},
            "SAFER_TLS_CERTIFICATE, SAFER_TLS_KEY: ",
        ),
    ],
)
def test_serve_does_not_start_with_half_a_certificate(
    certificate: Certificate, variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(certificate.key.parent / value))
    result = CliRunner().invoke(cli, ["serve", "--engine", "scripted", "--port", "0"])
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert "Traceback" not in result.output
