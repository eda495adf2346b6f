"""docker-compose.yml: what it starts is locked down, and fits the server and the images."""

import json
import os
import re
import shutil
import subprocess
from ipaddress import ip_address
from typing import Any

import pytest

from deploy_files import ROOT, VERSION, compose, stages

FILE = compose()
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
PROFILES = {
    "cpu": {"guard-cpu"},
    "gpu": {"guard", "vllm"},
    "monitoring": {"prometheus", "grafana"},
    "postgres": {"postgres"},
}
BUILT = {name: service for name, service in SERVICES.items() if "build" in service}

each_service = pytest.mark.parametrize("name", SERVICES)


@each_service
def test_a_service_cannot_write_gain_privileges_or_take_the_machine(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & set(service)
    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])


@each_service
def test_a_service_is_watched_and_has_room_for_temporary_files(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])


@pytest.mark.parametrize("name", BUILT)
def test_an_image_is_built_from_a_target_that_exists_and_named_by_its_version(name: str) -> None:
    service = BUILT[name]
    target = service["build"]["target"]
    assert target in stages()
    assert service["image"] == f"safer-toolkit:{VERSION}-{target}"


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - BUILT.keys()))
def test_an_image_of_others_is_pinned(name: str) -> None:
    assert re.search(r":v?\d+\.\d+", SERVICES[name]["image"])


def test_every_service_has_its_profile() -> None:
    assert {name: set(service["profiles"]) for name, service in SERVICES.items()} == {
        name: {profile} for profile, names in PROFILES.items() for name in names
    }


@each_service
def test_ports_are_published_on_this_machine_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert ip_address(port.split(":")[0]).is_loopback


def test_nobody_reaches_vllm_but_through_the_guard() -> None:
    assert "ports" not in SERVICES["vllm"]
    (network,) = SERVICES["vllm"]["networks"]
    assert FILE["networks"][network]["internal"] is True
    assert network in SERVICES["guard"]["networks"]
    assert SERVICES["guard"]["depends_on"]["vllm"]["condition"] == "service_healthy"


@each_service
def test_folders_of_the_host_are_mounted_read_only_and_never_made_up(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        if mount["type"] == "bind":
            assert mount["read_only"] is True
            assert mount["bind"]["create_host_path"] is False


@each_service
def test_a_password_comes_from_a_file_that_whoever_deploys_has_to_write(name: str) -> None:
    service = SERVICES[name]
    for variable, value in service.get("environment", {}).items():
        if "PASSWORD" in variable:
            assert variable.endswith("_FILE")
            secret = value.removeprefix("/run/secrets/")
            assert secret in service["secrets"]
            assert not (ROOT / FILE["secrets"][secret]["file"]).exists()
            assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_only_grafana_shows_what_prometheus_knows() -> None:
    assert "ports" not in SERVICES["prometheus"]
    assert "ports" not in SERVICES["postgres"]
    for name in ("watch", "data"):
        assert FILE["networks"][name]["internal"] is True
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert networks["prometheus"] == {"watch", "back"}
    assert networks["grafana"] == {"watch", "front"}
    assert networks["postgres"] == {"data"}
    assert {"watch", "data"} <= networks["guard"] & networks["guard-cpu"]


def test_the_data_of_a_service_outlives_it() -> None:
    for name in PROFILES["monitoring"] | PROFILES["postgres"]:
        (volume,) = [mount["source"] for mount in SERVICES[name]["volumes"] if mount["type"] == "volume"]
        assert volume in FILE["volumes"]


@pytest.mark.parametrize("variable", ["SAFER_MODEL", "SAFER_POLICIES"])
def test_both_sides_are_given_the_same(variable: str) -> None:
    assert SERVICES["guard"]["environment"][variable] == SERVICES["vllm"]["environment"][variable]


def test_the_model_is_mounted_where_both_sides_look_for_it() -> None:
    for name in ("guard", "vllm"):
        targets = {mount["target"] for mount in SERVICES[name]["volumes"]}
        assert SERVICES[name]["environment"]["SAFER_MODEL"] in targets


def test_the_guard_asks_vllm_where_it_listens() -> None:
    command = SERVICES["vllm"]["command"].split()
    port = command[command.index("--port") + 1]
    assert json.loads(SERVICES["guard"]["environment"]["SAFER_VLLM_URLS"]) == [f"http://vllm:{port}"]


@pytest.mark.parametrize("profile", PROFILES)
def test_docker_compose_understands_the_file(profile: str) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    command = [docker, "compose", "--file", str(ROOT / "docker-compose.yml"), "--profile", profile, "config"]
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_CONFIG") if name in os.environ}
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, env=clean)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["services"]) == PROFILES[profile]
