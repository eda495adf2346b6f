"""The dashboard of vLLM's own metrics asks for what a real vLLM shows."""

from collections.abc import Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from guard_server import GuardServer, shown
from monitoring import panel_queries
from vllm_metrics import REGISTRY
from vllm_server import VllmServer

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
PROMETHEUS_2 = f"{OPENMETRICS},text/plain;version=0.0.4;q=0.5"
PROMETHEUS_3 = f"{OPENMETRICS};escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4"


@pytest.fixture(scope="module")
def scrape(guard: GuardServer, vllm: VllmServer) -> Callable[[str], dict[str, set[str]]]:
    """Read the labels of every metric, after a request with a picture: `scrape(accept)`."""
    guard.check(guard.create(shown("hello")))

    def read(accept: str) -> dict[str, set[str]]:
        text = httpx.get(f"{vllm.url}/metrics", headers={"accept": accept}, timeout=30, trust_env=False).text
        families = text_string_to_metric_families(text.replace("# EOF\n", ""))
        return {sample.name: set(sample.labels) for family in families for sample in family.samples}

    return read


@pytest.mark.parametrize("accept", [PROMETHEUS_2, PROMETHEUS_3])
def test_a_vllm_has_every_metric_that_a_panel_shows(scrape: Callable[[str], dict[str, set[str]]], accept: str) -> None:
    wanted = {name for query in panel_queries() for name in query.metrics if name.startswith("vllm:")}
    assert len(wanted) > 10
    assert wanted <= set(scrape(accept))


def test_what_stands_in_for_it_elsewhere_has_the_same_names_and_labels(
    scrape: Callable[[str], dict[str, set[str]]],
) -> None:
    real = scrape(PROMETHEUS_2)
    for family in REGISTRY.collect():
        for sample in family.samples:
            assert sample.labels.keys() <= real[sample.name], sample.name
