"""Every part of a conversation is judged, or named as unjudged; nothing is cut off in silence."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from safer_server.engines.base import ContextLengthError, EngineRequest, Piece
from safer_server.engines.scripted import ScriptedEngine
from watching import TOLERANT


class ShortEngine(ScriptedEngine):
    """Reads so many turns at once and no more."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self._turns = turns

    async def stream(self, request: EngineRequest) -> AsyncGenerator[Piece, None]:
        """Refuse what is longer, as an engine does: before the first piece."""
        if len(request.turns) > self._turns:
            raise ContextLengthError
        async for piece in super().stream(request):
            yield piece


def long_history(turns: int, policy: str) -> dict[str, Any]:
    said = [{"role": ("user", "assistant")[number % 2], "content": f"turn {number}"} for number in range(turns)]
    messages = [{"role": "system", "content": "Be brief."}, *said]
    return {"model": "scripted", "messages": messages, "safer": {"policy": policy}}


@pytest.mark.parametrize(
    ("engine", "policy"), [(ShortEngine(4), "default"), (ShortEngine(1), "tolerant")], ids=["policy", "last turn"]
)
def test_a_history_that_is_too_long_is_an_error(
    in_process: Callable[..., TestClient], engine: ShortEngine, policy: str
) -> None:
    client = in_process(engine, served=(TOLERANT,))
    response = client.post("/v1/chat/completions", json=long_history(21, policy))
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_or_its_oldest_turns_are_left_out_and_named(in_process: Callable[..., TestClient]) -> None:
    engine = ShortEngine(4)
    client = in_process(engine, served=(TOLERANT,))
    reply = client.post("/v1/chat/completions", json=long_history(21, "tolerant")).json()
    coverage = reply["safer"]["coverage"]
    assert reply["safer"]["outcome"] == "answered"
    assert [turn.text for turn in engine.requests[-1].turns] == ["Be brief.", "turn 18", "turn 19", "turn 20"]
    kept, left = (0, 19, 20, 21), range(1, 19)
    assert [part["part"] for part in coverage["judged"]] == [f"messages[{number}].content" for number in kept]
    assert [part["part"] for part in coverage["unjudged"]] == [f"messages[{number}].content" for number in left]
    assert {part["reason"] for part in coverage["unjudged"]} == {"older than what the model can read at once"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/checks"])
def test_frames_that_nobody_looked_at_block_an_answer_unless_the_policy_says_so(
    in_process: Callable[..., TestClient], data_url: Callable[..., str], path: str
) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    url = data_url(frames[0], "GIF", save_all=True, append_images=frames[1:])
    client = in_process(served=(TOLERANT,))

    def ask(text: str, policy: str) -> tuple[str, list[str]]:
        parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
        body = {"model": "scripted", "messages": [{"role": "user", "content": parts}], "safer": {"policy": policy}}
        told = client.post(path, json=body).json()["safer"]
        return told["outcome"], [part["part"] for part in told["coverage"]["unjudged"]]

    assert ask("hello", "default") == ("failed_closed", ["messages[0].content[1]"])
    assert ask("hello", "tolerant") == ("answered", ["messages[0].content[1]"])
    assert ask("steal", "tolerant") == ("refused", ["messages[0].content[1]"])
    assert ask("steal", "default") == ("refused", ["messages[0].content[1]"])
