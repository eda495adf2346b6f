"""The Kubernetes manifests: restricted pods that find one another, and policies that both sides know."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy_files import KUBERNETES, VERSION, manifest, manifests, stages
from safer_protocol.toolkit import default_toolkit
from safer_server.policies import load_policies

GUARD = manifest("Deployment", "guard")
VLLM = manifest("StatefulSet", "vllm")
WORKLOADS = {"guard": GUARD, "vllm": VLLM}

each_workload = pytest.mark.parametrize("name", WORKLOADS)


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = WORKLOADS[name]["spec"]["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    (only,) = pod(name)["containers"]
    assert isinstance(only, dict)
    return only


def environment(name: str = "guard") -> dict[str, str]:
    return {variable["name"]: variable.get("value") for variable in container(name)["env"]}


def labels(name: str) -> dict[str, str]:
    found: dict[str, str] = WORKLOADS[name]["spec"]["template"]["metadata"]["labels"]
    return found


@each_workload
def test_a_pod_meets_the_restricted_standard_and_cannot_write_to_its_root(name: str) -> None:
    security = pod(name)["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    user = next(line for line in reversed(stages()[name.replace("guard", "server")]) if line.startswith("USER "))
    assert user == f"USER {security['runAsUser']}:{security['runAsGroup']}"
    inside = container(name)["securityContext"]
    assert inside["allowPrivilegeEscalation"] is False
    assert inside["readOnlyRootFilesystem"] is True
    assert inside["capabilities"] == {"drop": ["ALL"]}
    assert pod(name)["automountServiceAccountToken"] is False
    assert {"cpu", "memory"} <= set(container(name)["resources"]["limits"])


@each_workload
def test_names_of_services_do_not_become_settings(name: str) -> None:
    assert pod(name)["enableServiceLinks"] is False


@each_workload
def test_an_image_is_named_by_its_version(name: str) -> None:
    target = container(name)["image"].rpartition("-")[2]
    assert target in stages()
    assert container(name)["image"] == f"safer-toolkit:{VERSION}-{target}"


@each_workload
def test_every_mount_has_its_volume(name: str) -> None:
    mounted = {mount["name"] for mount in container(name)["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod(name)["volumes"]}


def test_traffic_comes_once_the_canary_has_passed_and_a_living_server_is_left_alone() -> None:
    paths = {kind: container("guard")[f"{kind}Probe"]["httpGet"]["path"] for kind in ("liveness", "readiness")}
    assert paths == {"liveness": "/healthz", "readiness": "/readyz"}


def test_running_replies_are_finished_before_the_pod_is_killed() -> None:
    pause = float(container("guard")["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod("guard")["terminationGracePeriodSeconds"] >= pause + float(environment()["SAFER_SHUTDOWN_SECONDS"]) + 5


def test_the_guard_asks_every_replica_of_vllm() -> None:
    service = manifest("Service", VLLM["spec"]["serviceName"])
    assert service["spec"]["clusterIP"] == "None"
    port = container("vllm")["ports"][0]["containerPort"]
    names = [f"vllm-{number}.{service['metadata']['name']}" for number in range(VLLM["spec"]["replicas"])]
    assert json.loads(environment()["SAFER_VLLM_URLS"]) == [f"http://{name}:{port}" for name in names]
    arguments = container("vllm")["args"]
    assert arguments[arguments.index("--port") + 1] == str(port)


@pytest.mark.parametrize("variable", ["SAFER_MODEL", "SAFER_POLICIES"])
def test_both_sides_are_given_the_same(variable: str) -> None:
    assert environment("guard")[variable] == environment("vllm")[variable]
    for name in WORKLOADS:
        assert any(mount["mountPath"] in environment(name)[variable] for mount in container(name)["volumeMounts"])


def test_every_policy_is_in_force_and_can_be_served(tmp_path: Path) -> None:
    files = manifest("ConfigMap", "policies")["data"]
    assert json.loads(environment()["SAFER_POLICIES"]) == [f"/policies/{file}" for file in files]
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    assert len(load_policies(tuple(tmp_path.iterdir()), default_toolkit())) == len(files) + 1


def test_only_the_guard_may_ask_vllm_and_vllm_nobody() -> None:
    rules = manifest("NetworkPolicy", "vllm")["spec"]
    assert rules["podSelector"]["matchLabels"].items() <= labels("vllm").items()
    assert rules["policyTypes"] == ["Ingress", "Egress"]
    ((source,),) = [rule["from"] for rule in rules["ingress"]]
    assert source == {"podSelector": {"matchLabels": labels("guard")}}
    assert rules["egress"] == []


def test_the_guard_may_ask_vllm() -> None:
    rules = manifest("NetworkPolicy", "guard")["spec"]
    assert rules["podSelector"]["matchLabels"].items() <= labels("guard").items()
    open_to = [target.get("podSelector", {}).get("matchLabels") for rule in rules["egress"] for target in rule["to"]]
    assert labels("vllm") in open_to


@pytest.mark.parametrize("version", ["1.30", "1.34"])
def test_kubernetes_accepts_every_object(version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    for item in manifests():
        validator.validate(item, version, strict=True)


def test_kustomize_builds_every_object_with_the_generated_name_of_the_policies() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([kubectl, "kustomize", str(KUBERNETES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert len(built) == len(manifests())
    (generated,) = [item["metadata"]["name"] for item in built if item["kind"] == "ConfigMap"]
    pods = [item["spec"]["template"]["spec"] for item in built if item["kind"] in {"Deployment", "StatefulSet"}]
    mounted = {volume["configMap"]["name"] for pod in pods for volume in pod["volumes"] if "configMap" in volume}
    assert mounted == {generated}
