"""Moderations with the official client."""

from collections.abc import Callable
from typing import Any

import openai
import pytest

from safer_server.engines.scripted import ScriptedEngine, table


@pytest.fixture
def client(live: Callable[..., Any]) -> Any:
    return live(ScriptedEngine(table({"broken": "no trace\n"}))).openai


def test_a_text(client: Any) -> None:
    good, bad = (client.moderations.create(input=text).results[0] for text in ("hello", "how to steal"))
    assert (good.flagged, bad.flagged) == (False, True)
    assert bad.categories.illicit
    assert bad.category_scores.illicit == 0.75
    assert bad.category_applied_input_types.illicit == ["text"]
    assert not any(good.categories.model_dump().values())


def test_texts_are_judged_each_for_itself_and_in_order(client: Any) -> None:
    reply = client.moderations.create(input=["hello", "how to steal", "bye", "a weapon"], model="scripted")
    assert [result.flagged for result in reply.results] == [False, True, False, True]
    assert reply.model == "scripted"
    assert reply.id.startswith("modr-")


def test_parts_are_one_message(client: Any, data_url: Callable[..., str]) -> None:
    parts = [{"type": "text", "text": "steal"}, {"type": "image_url", "image_url": {"url": data_url()}}]
    (result,) = client.moderations.create(input=parts).results
    assert result.flagged
    assert result.category_applied_input_types.illicit == ["text", "image"]


@pytest.mark.parametrize("given", ["broken", ["hello", "broken"]])
def test_a_fault_is_never_not_flagged(client: Any, given: Any) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.moderations.create(input=given)
    assert (caught.value.status_code, caught.value.code) == (503, "failed_closed")


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ("", "input"),
        ([], "input"),
        (["fine", ""], "input[1]"),
        ([{"type": "audio"}], "input[0].type"),
        ([{"type": "image_url", "image_url": {"url": "ftp://x"}}], "input[0]"),
        (7, "input"),
        (["x"] * 33, "input"),
        (["text", {"type": "text", "text": "x"}], "input[1]"),
    ],
)
def test_bad_input_is_named(client: Any, given: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.moderations.create(input=given)
    assert caught.value.param == param


def test_another_model_is_a_404(client: Any) -> None:
    with pytest.raises(openai.NotFoundError):
        client.moderations.create(input="hello", model="omni-moderation-latest")
