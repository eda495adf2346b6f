"""A real Prometheus on loopback, with the project's own configuration and rules, for targets that a test names."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from monitoring import PROMETHEUS
from ports import free_port
from waiting import PATIENCE, wait_for


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    web: httpx.Client

    def get(self, path: str, **params: str) -> Any:
        """Ask its API; fail where it says that a query is wrong."""
        answer = self.web.get(f"/api/v1/{path}", params=params).json()
        assert answer["status"] == "success", (params, answer)
        return answer["data"]

    def query(self, expression: str) -> list[float]:
        """The values of an expression now, those that are numbers."""
        found = [float(series["value"][1]) for series in self.get("query", query=expression)["result"]]
        return [value for value in found if not isnan(value)]

    def metrics(self) -> set[str]:
        """The names of all metrics that it has seen."""
        return set(self.get("label/__name__/values"))

    def targets(self) -> dict[str, str]:
        """How each job's scrapes went."""
        return {target["labels"]["job"]: target["health"] for target in self.get("targets")["activeTargets"]}

    def rule_faults(self) -> list[str]:
        """What is wrong with rules that have been evaluated or wait to be."""
        found = [rule for group in self.get("rules")["groups"] for rule in group["rules"]]
        return [f"{rule['name']}: {rule.get('lastError', rule['health'])}" for rule in found if rule["health"] != "ok"]


def promtool() -> str:
    """Find promtool, or skip."""
    return _found("promtool")


@contextmanager
def prometheus(folder: Path, targets: Mapping[str, str]) -> Iterator[Prometheus]:
    """Run it in a folder: jobs and rules as they are deployed, at the addresses given for the jobs, every second."""
    program = _found("prometheus")
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / pattern) for pattern in config["rule_files"]]
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=PATIENCE) as web:

            def is_ready() -> bool:
                assert process.poll() is None, (folder / "prometheus.log").read_text()[-2000:]
                try:
                    return web.get("/-/ready").is_success
                except httpx.TransportError:
                    return False

            wait_for(is_ready)
            yield Prometheus(web)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed: apt-get install prometheus")
    return path
