"""The deployment files, read as a deployer's tools read them."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def compose() -> dict[str, Any]:
    """Read the compose file as it is where no variable is set."""
    loaded: dict[str, Any] = _with_defaults(yaml.safe_load((ROOT / "docker-compose.yml").read_text()))
    return loaded


def _with_defaults(value: Any) -> Any:
    match value:
        case dict():
            return {key: _with_defaults(item) for key, item in value.items()}
        case list():
            return [_with_defaults(item) for item in value]
        case str():
            return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        case _:
            return value


def manifests() -> list[dict[str, Any]]:
    """Read every object that the kustomization names, and the ConfigMap that it makes of the policies."""
    objects = []
    for name in yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]:
        path = KUBERNETES / name
        if path.is_file():
            objects += list(yaml.safe_load_all(path.read_text()))
            continue
        for made in yaml.safe_load((path / "kustomization.yaml").read_text())["configMapGenerator"]:
            data = {file: (path / file).read_text() for file in made["files"]}
            objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": made["name"]}, "data": data})
    return objects


def manifest(kind: str, name: str) -> dict[str, Any]:
    """Find one object."""
    (found,) = [item for item in manifests() if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def stages() -> dict[str, list[str]]:
    """Read the instructions of each stage of the Dockerfile, those of the stages that it is built from first."""
    text = (ROOT / "Dockerfile").read_text()
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
    found: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        if start := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            current = found[start[2]] = list(found.get(start[1], []))
        elif not line.startswith("ARG") or found:
            current.append(line)
    return found
