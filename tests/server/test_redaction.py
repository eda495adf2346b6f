"""What the redacted view and none hide: a word that the engine copies wherever a model may write freely never comes out."""

import re
import string
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from attack import EXAMPLES
from reply_strategies import replies
from safer_protocol.fields import Text, Texts, Value
from safer_protocol.reply import Reply
from safer_protocol.text import print_reply
from safer_protocol.toolkit import Toolkit, default_toolkit
from safer_protocol.trace import Call
from safer_server.app import create_app
from safer_server.engines.base import EngineRequest
from safer_server.engines.scripted import ScriptedEngine, Take
from safer_server.policies import load_policies
from safer_server.settings import Settings
from safer_server.upstream import UpstreamPiece

POLICY = """\
name: shop
tools:
  add:
    - name: SHELF-LOOK
      stage: perception
      meaning: See what is on the shelf.
      fields: [{kind: texts, key: goods}, {kind: choice, key: shelf, words: [upper, lower]}, {kind: text, key: remark}]
  remove: [VISUAL-SCAN, OBJECT-INVENTORY]
topologies: [mesh]
"""
CANARIES = st.text(string.ascii_lowercase, min_size=6, max_size=10).map("zqxj".__add__)
SPACES = st.text(st.characters(categories=["P", "S", "Zs"], exclude_characters='"\\<'), max_size=3)

Spoil = Callable[[str, str], str]


def _line(pattern: str, replacement: Callable[[str], str]) -> Spoil:
    return lambda text, canary: re.sub(pattern, lambda _: replacement(canary), text, count=1, flags=re.M)


SPOILS: dict[str, Spoil] = {
    "valid": lambda text, _: text,
    "no tag": lambda text, canary: canary + text,
    "a plan word": _line("category=[a-z_]+", "category={}".format),
    "a key of the plan": _line("category=", "{}=".format),
    "a tool of the plan": _line(r"^\[[A-Z-]+\]$", lambda canary: f"[{canary.upper()}]"),
    "a call of no tool": _line(r"^\[[A-Z-]+\]: ", lambda canary: f"[{canary.upper()}]: "),
    "an unknown field": _line(r"^(?=</thinking>)", lambda canary: f"[SAFETY-GATE]: {canary}=yes\n"),
    "a field before others": _line(r"(?<=\]: )", "{}=yes; ".format),
    "a field given twice": _line(r"(?<=\]: )", lambda canary: f"{canary}=yes; {canary}=no; "),
    "a verdict": _line("verdict=[a-z_]+", "verdict={}".format),
    "no call": _line("^<thinking>\n", "<thinking>\n{}\n".format),
    "no answer": _line("^<answer>$", "{}".format),
    "text after the end": lambda text, canary: f"{text}{canary}\n",
}


class Stage:
    """A server whose engine plays the take that has been put on, under two policies."""

    def __init__(self, client: TestClient, toolkits: Mapping[str, Toolkit], takes: list[Take]) -> None:
        self.client = client
        self.toolkits = toolkits
        self._takes = takes

    def put_on(self, take: Take) -> None:
        """Play this from now on."""
        self._takes[:] = [take]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    path = tmp_path_factory.mktemp("policies") / "shop.yaml"
    path.write_text(POLICY)
    policies = load_policies([path], default_toolkit())
    takes: list[Take] = [Take("")]
    with TestClient(create_app(Settings(), ScriptedEngine(lambda _: takes[0]), policies)) as client:
        yield Stage(client, {name: policy.toolkit for name, policy in policies.items()}, takes)


def copied(reply: Reply, canary: str, toolkit: Toolkit) -> Reply:
    """Put a text into all free fields of a reply."""

    def fields(call: Call) -> dict[str, Value]:
        given = dict(call.fields)
        for field in toolkit.tool(call.tool).fields:
            if isinstance(field, Text):
                given[field.key] = canary
            if isinstance(field, Texts):
                given[field.key] = (canary,) * field.items
        return given

    return reply.model_copy(update={"trace": tuple(Call(tool=call.tool, fields=fields(call)) for call in reply.trace)})


def requests(canary: str, **safer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every request whose reply tells of a trace."""
    messages = [{"role": "user", "content": canary}]
    chat = {"model": "scripted", "messages": messages, "safer": safer}
    yield "/v1/chat/completions", chat
    yield "/v1/chat/completions", {**chat, "safer": {**safer, "mode": "check"}}
    yield "/v1/chat/completions", {**chat, "stream": True, "stream_options": {"include_usage": True}}
    yield "/v1/checks", {"messages": [*messages, {"role": "assistant", "content": canary}], "safer": safer}
    yield "/v1/moderations", {"input": canary, "safer": {"policy": safer["policy"]}}
    options = {"policy": safer["policy"]}
    guardrail = {"input_type": "request", "texts": [canary], "additional_provider_specific_params": options}
    yield "/beta/litellm_basic_guardrail_api", guardrail


@pytest.mark.parametrize("spoil", SPOILS)
@settings(max_examples=EXAMPLES // 20, derandomize=True, deadline=None, database=None)
@given(
    data=st.data(),
    canary=CANARIES,
    policy=st.sampled_from(["default", "shop"]),
    view=st.sampled_from(["redacted", "none"]),
    block=st.sampled_from(["refusal", "error"]),
)
def test_no_free_text_comes_out(
    stage: Stage, spoil: str, data: st.DataObject, canary: str, policy: str, view: str, block: str
) -> None:
    toolkit = stage.toolkits[policy]
    free = data.draw(SPACES) + canary + data.draw(SPACES)
    text = SPOILS[spoil](print_reply(copied(data.draw(replies(toolkit)), free, toolkit), toolkit), canary)
    number = data.draw(st.integers(0, len(text) // 4))
    stage.put_on(data.draw(st.sampled_from([Take(text), Take(text, stop_at=number), Take(text, raise_at=number)])))
    for path, body in requests(canary, policy=policy, trace=view, block=block):
        response = stage.client.post(path, json=body)
        assert response.status_code in (200, 400, 503)
        assert canary not in response.text.lower(), (path, body)


@pytest.mark.parametrize("spoil", ["valid", "an unknown field"])
def test_the_full_view_shows_what_the_others_hide(stage: Stage, written: Callable[[str], str], spoil: str) -> None:
    text = written("steal").replace('"scripted"', '"zqxjfull"')
    stage.put_on(Take(SPOILS[spoil](text, "zqxjfull")))
    for path, body in requests("hello", policy="default", trace="full"):
        if "safer" in body and "messages" in body:
            assert "zqxjfull" in stage.client.post(path, json=body).text, path


class Upstream:
    """A model behind the guard that says nothing of interest."""

    model = "behind"

    async def stream(self, turns: object, request: object) -> AsyncGenerator[UpstreamPiece, None]:
        yield UpstreamPiece("Hello.", finish="stop")

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("view", ["redacted", "none", "full"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_verdict_on_a_reply_is_redacted_too(
    monkeypatch: pytest.MonkeyPatch, written: Callable[[str], str], view: str, stream: bool
) -> None:
    behind = Settings(upstream_url="http://127.0.0.1:9/v1", upstream_model="behind")
    monkeypatch.setattr("safer_server.app.upstream_of", lambda *_: Upstream())
    free = {message: written(message).replace('"scripted"', '"zqxjreply"') for message in ("hello", "steal")}

    def script(request: EngineRequest) -> str:
        return free["steal" if request.turns[-1].role == "assistant" else "hello"]

    body = {
        "model": "behind",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": stream,
        "safer": {"trace": view},
    }
    with TestClient(create_app(behind, ScriptedEngine(script))) as client:
        told = client.post("/v1/chat/completions", json=body).text
    assert '"outcome":"refused"' in told
    assert ("zqxjreply" in told) is (view == "full")
