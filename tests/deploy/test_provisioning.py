"""What Prometheus and Grafana are given in docker-compose.yml fits together."""

from pathlib import Path
from typing import Any

import yaml

from deploy_files import ROOT, compose
from monitoring import GRAFANA, PROMETHEUS, dashboards

SERVICES = compose()["services"]
CONFIG = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
(SOURCE,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
(PROVIDER,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "safer.yml").read_text())["providers"]


def mounts(service: str) -> dict[str, Path]:
    """The folders of this repository that a service sees, by where it sees them."""
    binds = [mount for mount in SERVICES[service]["volumes"] if mount["type"] == "bind"]
    return {mount["target"]: ROOT / mount["source"] for mount in binds}


def sought(job: str) -> tuple[str, int]:
    """The name and port that a job looks for."""
    (config,) = [config for config in CONFIG["scrape_configs"] if config["job_name"] == job]
    (source,) = config["dns_sd_configs"]
    (name,) = source["names"]
    return name, source["port"]


def names(service: str, network: str) -> set[str]:
    """What a service is called in a network."""
    networks: Any = SERVICES[service]["networks"]
    options = networks.get(network) if isinstance(networks, dict) else None
    return {service, *(options or {}).get("aliases", ())}


def test_prometheus_finds_either_guard_at_its_internal_port() -> None:
    name, port = sought("safer")
    for guard in ("guard", "guard-cpu"):
        assert "watch" in SERVICES[guard]["networks"]
        assert name in names(guard, "watch")
        assert SERVICES[guard]["environment"]["SAFER_INTERNAL_PORT"] == str(port)
        assert not any(published.endswith(f":{port}") for published in SERVICES[guard]["ports"])
    assert "watch" in SERVICES["prometheus"]["networks"]


def test_prometheus_finds_vllm() -> None:
    name, port = sought("vllm")
    assert set(SERVICES[name]["networks"]) & set(SERVICES["prometheus"]["networks"])
    assert f"--port {port}" in SERVICES[name]["command"]


def test_prometheus_reads_this_configuration_and_its_rules() -> None:
    assert mounts("prometheus") == {"/etc/prometheus": PROMETHEUS}
    assert "--config.file=/etc/prometheus/prometheus.yml" in SERVICES["prometheus"]["command"]
    assert [path.name for pattern in CONFIG["rule_files"] for path in sorted(PROMETHEUS.glob(pattern))] == [
        "alerts.yml",
        "recording.yml",
    ]


def test_prometheus_keeps_its_data_in_its_volume() -> None:
    (volume,) = [mount["target"] for mount in SERVICES["prometheus"]["volumes"] if mount["type"] == "volume"]
    assert f"--storage.tsdb.path={volume}" in SERVICES["prometheus"]["command"]


def test_grafana_is_given_its_data_source_and_dashboards() -> None:
    assert mounts("grafana") == {
        "/etc/grafana/provisioning": GRAFANA / "provisioning",
        PROVIDER["options"]["path"]: GRAFANA / "dashboards",
    }
    assert len(dashboards()) == 4
    assert (PROVIDER["type"], PROVIDER["allowUiUpdates"]) == ("file", False)


def test_grafana_asks_prometheus_as_often_as_there_is_something_new() -> None:
    assert SOURCE["type"] == "prometheus"
    assert SOURCE["url"] == "http://prometheus:9090"
    assert SOURCE["isDefault"] is True
    assert SOURCE["jsonData"]["timeInterval"] == CONFIG["global"]["scrape_interval"]
    assert set(SERVICES["prometheus"]["networks"]) & set(SERVICES["grafana"]["networks"])


def test_grafana_lets_nobody_in_without_a_password_and_calls_nobody() -> None:
    environment = SERVICES["grafana"]["environment"]
    off = [name for name, value in environment.items() if value == "false"]
    assert {"GF_AUTH_ANONYMOUS_ENABLED", "GF_USERS_ALLOW_SIGN_UP", "GF_ANALYTICS_REPORTING_ENABLED"} <= set(off)
    assert "GF_SECURITY_ADMIN_PASSWORD__FILE" in environment
