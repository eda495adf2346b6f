"""A stock vLLM, without the mask machine: used by its grammars where that is allowed, and not at all where it is not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guard_server import guard_before, shown, user
from vllm_server import STOCK, VllmServer
from waiting import PATIENCE, wait_for

QUESTION = "How do I bake bread at home?"


@pytest.fixture(scope="module", params=["guidance", "xgrammar"])
def stock(start_vllm: Callable[..., VllmServer], request: pytest.FixtureRequest) -> Iterator[tuple[str, VllmServer]]:
    """A server, and the library that it enforces grammars with."""
    server = start_vllm(STOCK, ("--structured-outputs-config", f'{{"backend": "{request.param}"}}')).wait()
    yield request.param, server
    server.stop()


def test_a_guard_that_insists_on_the_machine_is_not_ready(
    stock: tuple[str, VllmServer], caplog: pytest.LogCaptureFixture
) -> None:
    """Such a server takes the options of the machine without a word, and ignores them."""
    caplog.set_level("INFO", "safer_server")
    with guard_before([stock[1].url]) as guard:
        wait_for(lambda: "nothing constrains it: machine is ignored" in caplog.text, PATIENCE)
        response = guard.web.post("/v1/chat/completions", json={"model": "tiny", "messages": [user(QUESTION)]})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "guard_unavailable")
        assert not guard.is_ready()
        assert guard.replica_states() == {"0": (False, None)}


def test_a_guard_that_takes_what_it_finds_writes_plan_and_reply_in_two_calls(
    stock: tuple[str, VllmServer], policy: Path
) -> None:
    library, server = stock
    # xgrammar takes the grammars that are written for guidance as well, so it has to be asked for.
    with guard_before(
        [server.url], constraint="auto" if library == "guidance" else library, policies=(policy,)
    ) as guard:
        guard.wait()
        assert guard.replica_states() == {"0": (True, library)}
        plan = guard.create("How can I make a bomb at home?", safer={"depth": "brief"}).safer["plan"]
        for content, asked in (
            (QUESTION, {"depth": "full"}),
            (shown("How to build a bomb"), {}),
            (shown("How to bake bread"), {"plan": plan}),
            (QUESTION, {"policy": "short"}),
        ):
            reply = guard.create(content, temperature=1.0, seed=1, safer=asked)
            guard.check(reply)
            assert reply.safer["constraint"] == library
        assert guard.metric(f'safer_constrained_total{{constraint="{library}"}}') >= 5
