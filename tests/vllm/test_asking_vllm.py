"""A vLLM that `safer vllm` started, asked without a guard as docs/vllm.md has it: constrained whatever a request says."""

import json
from typing import Any

import httpx
import pytest

from guard_server import user
from safer_protocol.policy import PolicyFile, apply_policy
from safer_protocol.text import parse
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify
from vllm_server import VllmServer
from waiting import PATIENCE

TOOLKIT = default_toolkit()
SHORT = apply_policy(PolicyFile(name="short", topologies=("linear",)), TOOLKIT)  # type: ignore[arg-type]


def ask(server: VllmServer, **fields: Any) -> httpx.Response:
    body = {"model": "tiny", "messages": [user("How do I bake bread at home?")], "temperature": 1.0, **fields}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=PATIENCE, trust_env=False)


def options(**chosen: Any) -> dict[str, str]:
    return {"safer": json.dumps(chosen)}


@pytest.mark.parametrize(
    "fields",
    [{}, {"vllm_xargs": options(depth="brief")}, {"vllm_xarg": options(constrain=False)}, {"guided_regex": "[a-z]+"}],
    ids=lambda fields: next(iter(fields), "nothing"),
)
def test_replies_verify(vllm: VllmServer, fields: dict[str, Any]) -> None:
    (choice,) = ask(vllm, **fields).raise_for_status().json()["choices"]
    assert verify(choice["message"]["content"], TOOLKIT).violations == ()
    assert choice["finish_reason"] == "stop"


def test_another_policy_is_asked_for_by_its_hash(vllm: VllmServer) -> None:
    fields = {"vllm_xargs": options(policy_hash=SHORT.policy_hash, depth="full")}
    text = ask(vllm, **fields).raise_for_status().json()["choices"][0]["message"]["content"]
    assert verify(text, SHORT.toolkit).violations == ()
    reply = parse(text, SHORT.toolkit).reply
    assert reply is not None
    assert (reply.plan.topology, reply.plan.depth) == ("linear", "full")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"vllm_xargs": options(dept="brief")}, "safer.dept"),
        ({"vllm_xargs": {"saferr": "{}"}}, "saferr"),
        ({"min_tokens": 5}, "min_tokens"),
        ({"stop": ["\n"]}, "stop"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"structured_outputs": {"regex": "[a-z]+"}}, "structured_outputs"),
        ({"response_format": {"type": "json_object"}}, "structured_outputs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_contradicts_the_machine_is_a_400_that_names_it(
    vllm: VllmServer, fields: dict[str, Any], named: str
) -> None:
    response = ask(vllm, **fields)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(named)
