"""The Dockerfile: what is built from it runs without root, can be stopped, and tells how it is."""

import json
import re
import ssl
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from certificates import make_certificate
from deploy_files import ROOT, VERSION, stages

IMAGES = ("cpu", "server", "vllm")
STAGES = stages()

each_image = pytest.mark.parametrize("image", IMAGES)


def last(image: str, instruction: str) -> str:
    """What an image ends up with."""
    found = [line for line in STAGES[image] if line.startswith(f"{instruction} ")]
    return found[-1].removeprefix(instruction).strip()


@each_image
def test_an_image_runs_as_a_fixed_user_that_is_not_root(image: str) -> None:
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", last(image, "USER"))


@each_image
def test_a_signal_reaches_the_server_because_no_shell_is_between(image: str) -> None:
    assert json.loads(last(image, "ENTRYPOINT"))[0] == "safer"
    assert last(image, "STOPSIGNAL") == "SIGTERM"


@each_image
def test_an_image_knows_how_it_is_with_nothing_but_python(image: str) -> None:
    command = json.loads(last(image, "HEALTHCHECK").partition("CMD ")[2])
    assert Path(command[0]).name.startswith("python")
    assert any(
        line.endswith(f" {command[1]}") for line in STAGES[image] if line.startswith("COPY deploy/healthcheck.py")
    )


@each_image
def test_the_label_tells_the_version(image: str) -> None:
    assert f'org.opencontainers.image.version="{VERSION}"' in last(image, "LABEL")


def test_base_images_are_pinned() -> None:
    bases = re.findall(r"(?m)^ARG \w+_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text())
    assert len(bases) == 2
    for base in bases:
        assert re.search(r":\D*\d+\.\d+", base), base


def test_what_the_wheel_is_made_of_is_in_the_build() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    wanted = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    wanted |= {Path(package).parts[0] for package in packages}
    copied = {source for line in STAGES["wheel"] if line.startswith("COPY ") for source in line.split()[1:-1]}
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert wanted <= copied
    assert wanted | {"deploy/healthcheck.py"} <= let_in


class Status(BaseHTTPRequestHandler):
    """Answers with the status that the path names, and is ready."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else int(self.path[1:]))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Status) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def check(url: str) -> int:
    """Run the health check as the container does, with a proxy in the environment that must not matter."""
    command = [sys.executable, str(ROOT / "deploy" / "healthcheck.py"), url]
    return subprocess.run(command, env={"http_proxy": "http://127.0.0.1:9"}, capture_output=True).returncode


@pytest.mark.parametrize(("path", "code"), [("/200", 0), ("/503", 1), ("/404", 1)])
def test_the_health_check_fails_unless_the_server_is_ready(address: str, path: str, code: int) -> None:
    assert check(address + path) == code


def test_the_health_check_fails_where_nobody_listens() -> None:
    assert check("http://127.0.0.1:9/readyz") == 1


def test_the_health_check_asks_by_https_where_the_server_does(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    with HTTPServer(("127.0.0.1", 0), Status) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        environment = {"SAFER_PORT": str(server.server_port), "SAFER_TLS_CERTIFICATE": str(certificate.chain)}
        command = [sys.executable, str(ROOT / "deploy" / "healthcheck.py")]
        assert subprocess.run(command, env=environment, capture_output=True).returncode == 0
        thread.join()
