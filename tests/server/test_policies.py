"""Policy files are read with errors that help, and two policies are served side by side."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from safer_protocol.policy import DEFAULT_POLICY
from safer_protocol.toolkit import default_toolkit
from safer_server.app import create_app
from safer_server.document import DocumentError
from safer_server.engines.scripted import ScriptedEngine
from safer_server.policies import load_policies, load_policy
from safer_server.settings import Settings

BASE = default_toolkit()

STRICT = """\
name: strict
personas:
  add:
    - name: doorman
      meaning: Short and polite.
topologies: [mesh]
openings:
  refuse: ["This shop does not do"]
outcomes:
  specialized_advice: [refuse, clarify]
"""


@pytest.fixture
def strict(tmp_path: Path) -> Path:
    path = tmp_path / "strict.yaml"
    path.write_text(STRICT)
    return path


@pytest.fixture
def client(strict: Path) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(), ScriptedEngine(), load_policies([strict], BASE))) as running:
        yield running


def test_the_page_about_policies_shows_one_that_loads(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "policies.md").read_text()
    path = tmp_path / "shown.yaml"
    path.write_text(page.partition("```yaml\n")[2].partition("```")[0])
    policy = load_policy(path, BASE)
    assert policy.untrained == ("DOSE-CHECK", "nurse", "dosage")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name: [", ":1: "),
        ("name: strict\nname2: x\n", ":2: name2: Extra inputs are not permitted"),
        ("tools: {}\n", ":1: name: Field required"),
        ("- a list\n", ":1: Input should be"),
        ("", ":1: Input should be"),
        ("name: strict\nrefuse_from: huge\n", ":2: refuse_from: Input should be 'none'"),
        ("name: strict\noutcomes:\n  hate: [refuse]\n  weather: [refuse]\n", ":4: outcomes.weather: no such category"),
        (
            "name: strict\ntools:\n  remove:\n    - OCR-EXTRACT\n    - NO-SUCH\n",
            ":5: tools.remove.1: there is no NO-SUCH",
        ),
        (
            "name: strict\npersonas:\n  add:\n    - {name: guardian, meaning: x}\n",
            ":4: personas.add.0.name: guardian exists",
        ),
        ("name: strict\ntools:\n  remove: [SAFETY-GATE]\n", ":1: no closing gate"),
        (
            "name: strict\ntools:\n  add:\n    - name: A\n      stage: reasoning\n      meaning: x\n      fields:\n"
            "        - {kind: text, key: k, budget: 0}\n",
            ":8: tools.add.0.fields.0.budget: ",
        ),
        ("name: default\n", ":1: the name default is taken"),
    ],
)
def test_a_fault_is_named_with_line_and_key(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(content)
    with pytest.raises(DocumentError) as caught:
        load_policy(path, BASE)
    assert str(caught.value).startswith(f"{path}:")
    assert said in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="No such file"):
        load_policy(tmp_path / "absent.yaml", BASE)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DocumentError, match="not UTF-8"):
        load_policy(tmp_path / "binary.yaml", BASE)
    (tmp_path / "control.yaml").write_text("name: a\x01")
    with pytest.raises(DocumentError, match="does not allow"):
        load_policy(tmp_path / "control.yaml", BASE)


def test_two_files_of_one_name_are_refused(strict: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin.yaml"
    twin.write_text(STRICT)
    with pytest.raises(DocumentError, match="two policies named strict"):
        load_policies([strict, twin], BASE)


def test_each_request_is_served_under_its_policy(client: TestClient, chat_body: Callable[..., dict[str, Any]]) -> None:
    def ask(policy: str) -> dict[str, Any]:
        body = chat_body("Which medicine helps?", safer={"policy": policy})
        answer: dict[str, Any] = client.post("/v1/chat/completions", json=body).json()
        return answer

    usual, strict = ask(DEFAULT_POLICY), ask("strict")
    assert usual["safer"]["decision"] == "safe_complete"
    assert strict["safer"]["decision"] == "refuse"
    assert strict["choices"][0]["message"]["refusal"].startswith("This shop does not do")
    for reply in (usual, strict):
        assert reply["safer"]["protocol_hash"] == BASE.hash
        assert reply["safer"]["verification"]["valid"]
    assert usual["safer"]["policy_hash"] == BASE.hash != strict["safer"]["policy_hash"]
    assert usual["system_fingerprint"] != strict["system_fingerprint"]
    assert 'safer_requests_total{endpoint="chat",outcome="refused",policy="strict"} 1.0' in client.get("/metrics").text

    shown = {**strict["safer"], "answer": strict["choices"][0]["message"]["refusal"]}
    trace = {key: shown[key] for key in ("plan", "trace", "answer")}
    assert client.post("/v1/traces/verify", json={**trace, "policy": "strict"}).json()["valid"]
    assert not client.post("/v1/traces/verify", json=trace).json()["valid"]


@pytest.mark.parametrize(
    ("policy", "changes", "param"),
    [
        ("strict", {}, None),
        (DEFAULT_POLICY, {}, "safer.plan.persona"),
        ("strict", {"topology": "linear"}, "safer.plan.topology"),
        ("strict", {"tools": ["OCR-EXTRACT", "NO-SUCH-TOOL", "SAFETY-GATE"]}, "safer.plan.tools"),
        ("strict", {"tools": ["SAFETY-GATE", "OCR-EXTRACT", "RISK-SCORER"]}, "safer.plan.tools"),
        ("strict", {"tools": ["OCR-EXTRACT", "RISK-SCORER"] * 50}, "safer.plan.tools"),
    ],
)
def test_a_plan_is_held_to_the_policy_that_it_is_given_under(
    client: TestClient,
    chat_body: Callable[..., dict[str, Any]],
    policy: str,
    changes: dict[str, Any],
    param: str | None,
) -> None:
    head = {"category": "none", "risk": "low", "persona": "doorman", "topology": "mesh", "depth": "standard"}
    plan = {**head, "tools": ["OCR-EXTRACT", "RISK-SCORER", "SAFETY-GATE"], **changes}
    response = client.post("/v1/chat/completions", json=chat_body(safer={"policy": policy, "plan": plan}))
    assert response.status_code == (400 if param else 200)
    assert response.json().get("error", {}).get("param") == param


def test_a_policy_is_described(client: TestClient) -> None:
    card = client.get("/v1/protocol", params={"policy": "strict"}).json()
    assert card["untrained"] == ["doorman"]
    assert [topology["name"] for topology in card["topologies"]] == ["mesh"]
    assert client.get("/v1/protocol").json()["untrained"] == []
    assert client.get("/version").json()["policies"] == {
        "default": BASE.hash,
        "strict": card["policy_hash"],
    }


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/v1/protocol", {"params": {"policy": "nowhere"}}),
        ("POST", "/v1/traces/verify", {"json": {"text": "x", "policy": "nowhere"}}),
    ],
)
def test_an_unknown_policy_is_a_404(client: TestClient, method: str, path: str, options: dict[str, Any]) -> None:
    response = client.request(method, path, **options)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "policy_not_found"
    assert response.json()["error"]["param"] == "policy"
