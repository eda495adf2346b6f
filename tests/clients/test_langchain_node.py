"""LangChain for JavaScript: it keeps the reasoning and drops a refusal's text, so what tells of one is `finish_reason`."""

from collections.abc import Callable
from typing import Any

import pytest

ANSWER = "This is a scripted answer: no model was asked."
REFUSAL = "I can't help with this. I am glad to help with something safe instead."


@pytest.fixture(scope="module")
def seen(node: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What it saw."""
    return node("langchain.mjs")


@pytest.mark.parametrize(
    ("case", "content", "finish"), [("answered", ANSWER, "stop"), ("refused", "", "content_filter")]
)
def test_a_reply_whole_and_streamed(seen: dict[str, Any], case: str, content: str, finish: str) -> None:
    for reply in (seen[case], seen["stream"][case]):
        assert (reply["content"], reply["finish_reason"], reply["refusal"]) == (content, finish, None)
        assert reply["reasoning"].endswith("</thinking>\n")
        assert reply["usage"]["output_token_details"]["reasoning"] > 0


def test_the_raw_response_holds_refusal_and_trace(seen: dict[str, Any]) -> None:
    assert seen["raw"]["refusal"] == REFUSAL
    assert seen["raw"]["safer"]["decision"] == "refuse"


def test_blocks_as_errors(seen: dict[str, Any]) -> None:
    error = {"status": 400, "code": "content_filter"}
    assert seen["blocked"] == {"whole": error, "stream": error}


def test_pictures_and_earlier_replies(seen: dict[str, Any]) -> None:
    assert seen["pictured"]["content"] == ANSWER
    assert seen["again"] == ANSWER


def test_aborting_a_stream_cancels_generation(seen: dict[str, Any]) -> None:
    assert seen["cancelled"]
