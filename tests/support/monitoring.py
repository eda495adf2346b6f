"""The dashboards and rules, read as Grafana and Prometheus read them."""

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from deploy_files import ROOT

GRAFANA = ROOT / "deploy" / "grafana"
PROMETHEUS = ROOT / "deploy" / "prometheus"
AUDIT = "safer_audit_"
"""How the metrics begin that a server does not have yet; once it has one, this exemption must go."""

_NO_METRICS = re.compile(
    r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)|\b(?:and|or|unless|bool|offset)\b'
)
_METRIC = re.compile(r"\b[a-zA-Z_][\w:]*\b(?!\s*\()")
_COMPARISON = re.compile(r"(?<=\s)(==|!=|>=|<=|>|<)(?=\s)")


@dataclass(frozen=True)
class Query:
    """What asks for data, and its expression as Prometheus gets it."""

    asks: str
    expression: str

    @property
    def metrics(self) -> set[str]:
        """The metrics that it reads."""
        return set(_METRIC.findall(_NO_METRICS.sub(" ", self.expression)))

    @property
    def is_exempt(self) -> bool:
        """Whether it reads what a server does not have yet."""
        return any(metric.startswith(AUDIT) for metric in self.metrics)


@cache
def dashboards() -> dict[str, dict[str, Any]]:
    """Read every dashboard, by its file's name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def rules(kind: str) -> list[dict[str, Any]]:
    """Read every rule of a kind: `alert` or `record`."""
    files = [yaml.safe_load(path.read_text()) for path in sorted((PROMETHEUS / "rules").glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"] if kind in rule]


def panel_queries(interval: str = "1m") -> list[Query]:
    """Every query of every panel, with variables as they are at first."""
    return [
        Query(
            f"{name}: {panel['title']} ({target['refId']})",
            target["expr"].replace("$__rate_interval", interval).replace("$policy", ".*"),
        )
        for name, dashboard in dashboards().items()
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]


def variable_queries() -> list[Query]:
    """What the choices of each dashboard are read from."""
    found = []
    for name, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]
                found.append(Query(f"{name}: ${variable['name']}", f'count by ({label}) ({metric}{{{label}!=""}})'))
    return found


def alert_queries() -> list[Query]:
    """Every alert's expression, made to say whether it holds, so that it has an answer where it does not."""
    return [Query(rule["alert"], _COMPARISON.sub(r"\1 bool", rule["expr"])) for rule in rules("alert")]


def record_queries() -> list[Query]:
    """Every recorded series."""
    return [Query(rule["record"], rule["record"]) for rule in rules("record")]
