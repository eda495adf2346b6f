"""The official client for JavaScript."""

from collections.abc import Callable
from typing import Any

import pytest

ANSWER = "This is a scripted answer: no model was asked."
REFUSAL = "I can't help with this. I am glad to help with something safe instead."


@pytest.fixture(scope="module")
def seen(node: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What it saw."""
    return node("openai.mjs")


@pytest.mark.parametrize(
    ("case", "content", "refusal", "finish", "outcome"),
    [("answered", ANSWER, None, "stop", "answered"), ("refused", None, REFUSAL, "content_filter", "refused")],
)
def test_a_reply_whole_and_streamed(
    seen: dict[str, Any], case: str, content: str | None, refusal: str | None, finish: str, outcome: str
) -> None:
    whole, stream = seen[case], seen["stream"][case]
    assert (whole["content"], whole["refusal"]) == (content, refusal)
    assert (stream["content"] or None, stream["refusal"] or None) == (content, refusal)
    assert stream["kinds"] == ["reasoning", "content" if refusal is None else "refusal"]
    assert whole["reasoning"] == whole["reasoning_content"] == stream["reasoning"]
    assert whole["id"].startswith("req_")
    for reply in (whole, stream):
        assert (reply["finish_reason"], reply["safer"]["outcome"]) == (finish, outcome)
        assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
    assert whole["moderation"]["input"]["results"][0]["flagged"] is (refusal is not None)


def test_the_stream_helper(seen: dict[str, Any]) -> None:
    """Its final message holds answer, refusal and `safer`; of the reasoning, as of every unknown field, the last piece alone."""
    answered, refused = seen["runner"]["answered"], seen["runner"]["refused"]
    assert (answered["content"], answered["final"]["content"], answered["safer"]["outcome"]) == (
        ANSWER,
        ANSWER,
        "answered",
    )
    assert (refused["refusal"], refused["final"]["refusal"], refused["safer"]["outcome"]) == (
        REFUSAL,
        REFUSAL,
        "refused",
    )
    assert (refused["content"], refused["final"]["content"], refused["finish_reason"]) == (None, None, "content_filter")


def test_pictures_and_earlier_replies(seen: dict[str, Any]) -> None:
    parts = [part["type"] for part in seen["pictured"]["safer"]["coverage"]["judged"]]
    assert (seen["pictured"]["content"], parts) == (ANSWER, ["text", "image"])
    assert seen["again"] == ANSWER


def test_errors_have_the_client_s_classes(seen: dict[str, Any]) -> None:
    told = {
        case: tuple(error[key] for key in ("name", "status", "code", "param")) for case, error in seen["errors"].items()
    }
    assert told == {
        "blocked": ("BadRequestError", 400, "content_filter", None),
        "unknown": ("NotFoundError", 404, "model_not_found", "model"),
        "tools": ("BadRequestError", 400, "unsupported_parameter", "tools"),
    }
    assert all(error["requestID"].startswith("req_") for error in seen["errors"].values())


def test_models_and_moderations(seen: dict[str, Any]) -> None:
    assert seen["models"] == ["scripted"]
    assert [result["flagged"] for result in seen["moderation"]] == [False, True]


def test_aborting_a_stream_cancels_generation(seen: dict[str, Any]) -> None:
    assert seen["cancelled"]
