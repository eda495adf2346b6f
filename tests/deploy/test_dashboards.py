"""The dashboards as files: in step with what builds them, whole, explained, and laid out without overlaps."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from monitoring import GRAFANA, dashboards, panels

DASHBOARDS = dashboards()

each_dashboard = pytest.mark.parametrize("name", DASHBOARDS)
each_panel = pytest.mark.parametrize(
    ("name", "panel"),
    [(name, panel) for name, board in DASHBOARDS.items() for panel in panels(board)],
    ids=[f"{name}: {panel['title']}" for name, board in DASHBOARDS.items() for panel in panels(board)],
)


def test_the_files_are_what_the_script_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(GRAFANA / "build.py"), str(tmp_path)], check=True)
    built = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert built == {path.name: path.read_text() for path in (GRAFANA / "dashboards").iterdir()}


def test_names_are_unique_and_stay_when_a_file_is_imported_again() -> None:
    assert {board["uid"] for board in DASHBOARDS.values()} == set(DASHBOARDS)
    titles = [board["title"] for board in DASHBOARDS.values()]
    assert len(set(titles)) == len(titles)
    assert not any(board.get("id") for board in DASHBOARDS.values())


@each_dashboard
def test_panels_have_numbers_and_titles_of_their_own(name: str) -> None:
    numbers = [panel["id"] for panel in DASHBOARDS[name]["panels"]]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in panels(DASHBOARDS[name])]
    assert len(set(titles)) == len(titles)


@each_dashboard
def test_panels_lie_beside_one_another(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@each_dashboard
def test_the_data_source_is_for_the_viewer_to_choose(name: str) -> None:
    board = DASHBOARDS[name]
    (chosen,) = [variable for variable in board["templating"]["list"] if variable["type"] == "datasource"]
    assert (chosen["name"], chosen["query"]) == ("datasource", "prometheus")

    def sources(value: Any) -> list[Any]:
        match value:
            case dict():
                inside = [source for item in value.values() for source in sources(item)]
                return inside + [item for key, item in value.items() if key == "datasource"]
            case list():
                return [source for item in value for source in sources(item)]
            case _:
                return []

    found = sources(board)
    assert len(found) > len(panels(board))
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in found)


@each_panel
def test_a_panel_says_what_it_means_and_in_which_unit(name: str, panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"].keys() >= {"defaults", "overrides"}
    assert panel["options"]
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters) > 0
    if panel["type"] in {"stat", "timeseries"}:
        defaults = panel["fieldConfig"]["defaults"]
        assert "unit" in defaults or defaults["mappings"]
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("by", ["policy", "category", "tool", "modality", "model", "endpoint"])
def test_the_refusal_rate_is_shown_by(by: str) -> None:
    assert f"Refusal rate by {by}" in [panel["title"] for panel in panels(DASHBOARDS["safer-refusals"])]


def test_refusals_over_refusals_and_faults_are_beside_one_another() -> None:
    (panel,) = [item for item in panels(DASHBOARDS["safer-refusals"]) if len(item["targets"]) == 3]
    assert [target["expr"] for target in panel["targets"]] == [
        "safer:refusal:ratio_rate5m",
        "safer:over_refusal:ratio_rate5m",
        "safer:failed_closed:ratio_rate5m",
    ]
