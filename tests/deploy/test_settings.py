"""What the deployment files set is what the server reads, and accepts."""

import pytest

from deploy_files import compose, manifest
from safer_server.settings import Settings

COMPOSE = compose()["services"]
POD = manifest("Deployment", "guard")["spec"]["template"]["spec"]
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "compose, cpu": COMPOSE["guard-cpu"]["environment"],
    "compose, gpu": COMPOSE["guard"]["environment"],
    "compose, vllm": COMPOSE["vllm"]["environment"],
    "kubernetes": {variable["name"]: variable["value"] for variable in POD["containers"][0]["env"]},
}


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_every_variable_is_a_setting_and_every_value_is_accepted(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SAFER_{name.upper()}", raising=False)
    environment = ENVIRONMENTS[where]
    assert set(environment) <= {f"SAFER_{name.upper()}" for name in Settings.model_fields}
    for variable, value in environment.items():
        if value is not None:  # without one Compose takes it over from its own environment
            monkeypatch.setenv(variable, value)
    assert Settings().engine == environment.get("SAFER_ENGINE", "hf")


@pytest.mark.parametrize("service", ["guard-cpu", "guard"])
def test_compose_waits_for_running_replies_before_it_kills(service: str) -> None:
    patience = float(COMPOSE[service]["stop_grace_period"].removesuffix("s"))
    assert patience >= float(COMPOSE[service]["environment"]["SAFER_SHUTDOWN_SECONDS"]) + 5
