"""Vercel's AI SDK: it shows a refusal as text that ends with `content-filter`."""

from collections.abc import Callable
from typing import Any

import pytest

ANSWER = "This is a scripted answer: no model was asked."
REFUSAL = "I can't help with this. I am glad to help with something safe instead."


@pytest.fixture(scope="module")
def seen(node: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What it saw."""
    return node("ai_sdk.mjs")


@pytest.mark.parametrize(
    ("case", "text", "finish", "outcome"),
    [("answered", ANSWER, "stop", "answered"), ("refused", REFUSAL, "content-filter", "refused")],
)
def test_a_reply_whole_and_streamed(seen: dict[str, Any], case: str, text: str, finish: str, outcome: str) -> None:
    whole, stream = seen[case], seen["stream"][case]
    for reply in (whole, stream):
        assert (reply["text"], reply["finishReason"], reply["safer"]["outcome"]) == (text, finish, outcome)
        assert reply["reasoningText"].startswith("<plan>\n")
        assert reply["reasoningText"].endswith("</thinking>\n")
    assert whole["parts"] == ["reasoning", "text"]
    assert whole["usage"]["outputTokenDetails"]["reasoningTokens"] > 0
    assert stream["kinds"].index("reasoning-end") < stream["kinds"].index("text-start")


def test_pictures_and_earlier_replies(seen: dict[str, Any]) -> None:
    parts = [part["type"] for part in seen["pictured"]["safer"]["coverage"]["judged"]]
    assert (seen["pictured"]["text"], parts) == (ANSWER, ["text", "image"])
    assert seen["again"] == ANSWER


def test_a_block_as_an_error(seen: dict[str, Any]) -> None:
    told = seen["blocked"]
    assert (told["name"], told["statusCode"], told["code"]) == ("AI_APICallError", 400, "content_filter")
    assert told["message"] == "The guard refused this request."


def test_aborting_a_stream_cancels_generation(seen: dict[str, Any]) -> None:
    assert seen["cancelled"]
