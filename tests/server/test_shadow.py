"""A policy that only watches, with the guard's own model; with another behind it, see `test_relay.py`."""

from collections.abc import Callable
from typing import Any

import pytest

from safer_server.engines.scripted import ScriptedEngine, table
from watching import WATCHING


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_told_and_not_carried_out(live: Callable[..., Any], stream: bool) -> None:
    client = live(served=(WATCHING,)).openai
    options = {
        "extra_body": {"safer": {"policy": "watching", "block": "error"}},
        "model": "scripted",
        "messages": [{"role": "user", "content": "steal"}],
    }
    if stream:
        chunks = list(client.chat.completions.create(stream=True, **options))
        content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        refusal = "".join(chunk.choices[0].delta.refusal or "" for chunk in chunks) or None
        finish, told = chunks[-1].choices[0].finish_reason, chunks[-1].safer
    else:
        reply = client.chat.completions.create(**options)
        (choice,), told = reply.choices, reply.safer
        content, refusal, finish = choice.message.content, choice.message.refusal, choice.finish_reason
    assert content.startswith("I can't help with")
    assert (refusal, finish) == (None, "stop")
    assert (told["outcome"], told["decision"]) == ("would_refuse", "refuse")


def test_a_check_says_allowed_and_what_it_would_do(live: Callable[..., Any]) -> None:
    client = live(served=(WATCHING,)).openai
    body = {"messages": [{"role": "user", "content": "steal"}], "safer": {"policy": "watching"}}
    told = client.post("/checks", body=body, cast_to=dict[str, Any])
    assert (told["allowed"], told["safer"]["outcome"], told["safer"]["decision"]) == (True, "would_refuse", "refuse")
    assert client.moderations.create(input="steal", extra_body={"safer": {"policy": "watching"}}).results[0].flagged


def test_a_fault_fails_closed_all_the_same(live: Callable[..., Any]) -> None:
    client = live(ScriptedEngine(table({"broken": "no trace\n"})), served=(WATCHING,)).openai
    reply = client.chat.completions.create(
        model="scripted",
        messages=[{"role": "user", "content": "broken"}],
        extra_body={"safer": {"policy": "watching"}},
    )
    assert (reply.choices[0].message.content, reply.safer["outcome"]) == (None, "failed_closed")
