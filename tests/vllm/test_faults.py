"""What goes wrong with vLLM while a guard relies on it: nothing of that ever becomes an answer."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from openai import APIError

from guard_server import GuardServer, guard_before, user
from vllm_server import CONSTRAINED, START_SECONDS, VllmServer
from waiting import PATIENCE, wait_for

QUESTION = "How do I bake bread at home?"
STREAMS = 6
LONG = 2000
"""Tokens of an answer that is still being written when harm is done: many seconds on any machine."""


@pytest.fixture(scope="module")
def victim(loading: VllmServer, start_vllm: Callable[..., VllmServer], untrained: Path) -> VllmServer:
    """A server to do harm to; its model, which is untrained, ends no answer before it has to."""
    return start_vllm((*CONSTRAINED[:2], "--model", str(untrained)))


@pytest.fixture
def spare(victim: VllmServer) -> VllmServer:
    """The same, up, whatever has been done to it."""
    if not victim.is_running:
        victim.start()
    return victim.wait()


@pytest.fixture
def relying(spare: VllmServer) -> Iterator[GuardServer]:
    """A guard that has no other server; a connection or a token may take a while on a busy machine."""
    with guard_before(
        [spare.url], connect_seconds=15, next_token_seconds=15, canary_seconds=2, answer_tokens=LONG
    ) as guard:
        yield guard.wait()


@dataclass
class Streamed:
    """What a client has seen of a stream."""

    content: str = ""
    refusal: str = ""
    finish: str | None = None
    safer: Any = None
    error: APIError | None = None
    began: Event = field(default_factory=Event)
    is_delivering: Event = field(default_factory=Event)
    """Some of an answer or of a refusal has come."""

    def read(self, guard: GuardServer, seed: int) -> None:
        """Ask, and read the stream to its end."""
        try:
            for chunk in guard.create(QUESTION, stream=True, temperature=1.0, seed=seed):
                for choice in chunk.choices:
                    self.content += choice.delta.content or ""
                    self.refusal += choice.delta.refusal or ""
                    self.finish, self.safer = choice.finish_reason, getattr(chunk, "safer", None)
                self.began.set()
                if self.content or self.refusal:
                    self.is_delivering.set()
        except APIError as error:
            self.error = error

    def check_failed_closed(self) -> None:
        """As docs/api.md has it: a refusal that says why, or behind the first of an answer an error and no end."""
        if self.error is not None:
            assert self.is_delivering.is_set()
            assert (self.error.code, self.finish, self.safer) == ("failed_closed", None, None)
        else:
            assert (self.finish, self.content) == ("content_filter", "")
            assert (self.safer["failure"], self.safer["decision"]) == ("engine_fault", None)


@contextmanager
def streaming(guard: GuardServer) -> Iterator[list[Streamed]]:
    """Stream replies until all have begun and one is past its decision; then, behind the block, to their ends."""
    streams = [Streamed() for _ in range(STREAMS)]
    with ThreadPoolExecutor(STREAMS) as pool:
        reading = [pool.submit(stream.read, guard, seed) for seed, stream in enumerate(streams)]
        for stream in streams:
            assert stream.began.wait(PATIENCE)
        wait_for(lambda: any(stream.is_delivering.is_set() for stream in streams), PATIENCE)
        yield streams
        for future in reading:
            future.result(PATIENCE)


def lost(streams: list[Streamed]) -> list[Streamed]:
    """Those that were cut, each of which failed closed; a fast machine may have come to the end of another before."""
    cut = [stream for stream in streams if stream.finish != "length"]
    for stream in cut:
        stream.check_failed_closed()
    return cut


def check_a_short_reply(guard: GuardServer) -> None:
    guard.check(guard.create(QUESTION, max_tokens=100))


def is_refused_for_now(guard: GuardServer) -> bool:
    response = guard.web.post("/v1/chat/completions", json={"model": "tiny", "messages": [user(QUESTION)]})
    return response.status_code == 503 and response.json()["error"]["code"] == "guard_unavailable"


def test_a_client_that_goes_away_stops_vllm(spare: VllmServer, relying: GuardServer) -> None:
    succeeded = spare.metric("vllm:request_success_total")
    streams = [relying.create(QUESTION, stream=True, temperature=1.0, seed=seed) for seed in range(STREAMS)]
    for stream in streams:
        next(iter(stream))
    wait_for(lambda: spare.metric("vllm:num_requests_running") > 0, PATIENCE)
    for stream in streams:
        stream.close()
    held = ("vllm:num_requests_running", "vllm:num_requests_waiting")
    wait_for(lambda: not any(spare.metric(name) for name in held), PATIENCE)
    assert spare.metric("vllm:request_success_total") - succeeded < STREAMS
    check_a_short_reply(relying)


def test_a_server_that_hangs_in_mid_stream_costs_its_replies_and_takes_part_again(
    spare: VllmServer, relying: GuardServer
) -> None:
    with streaming(relying) as streams:
        spare.signal(signal.SIGSTOP)
    assert lost(streams)
    assert not relying.is_ready()
    assert relying.replica_states() == {"0": (False, None)}
    assert is_refused_for_now(relying)
    spare.signal(signal.SIGCONT)
    check_a_short_reply(relying.wait())


def test_another_server_answers_for_one_that_hangs_before_it_begins(spare: VllmServer, vllm: VllmServer) -> None:
    with guard_before([spare.url, vllm.url], first_token_seconds=15) as guard:
        wait_for(lambda: all(up for up, _ in guard.replica_states().values()), PATIENCE)
        guard.wait()
        spare.signal(signal.SIGSTOP)
        try:
            with ThreadPoolExecutor(4) as pool:
                replies = list(pool.map(lambda seed: guard.create(QUESTION, seed=seed), range(4)))
        finally:
            spare.signal(signal.SIGCONT)
        for reply in replies:
            guard.check(reply)
        assert guard.metric('safer_engine_request_seconds_count{replica="1"}') >= 4


def test_a_server_that_dies_in_mid_stream_costs_its_replies_and_is_taken_back(
    spare: VllmServer, relying: GuardServer
) -> None:
    with streaming(relying) as streams:
        spare.kill()
    assert relying.metric('safer_failed_closed_total{reason="engine_fault"}') == len(lost(streams))
    wait_for(lambda: not relying.is_ready(), PATIENCE)
    assert is_refused_for_now(relying)
    assert relying.metric('safer_engine_up{replica="0"}') == 0

    spare.start()
    spare.wait()
    check_a_short_reply(relying.wait(START_SECONDS))


def test_one_of_two_servers_dies_under_load(spare: VllmServer, vllm: VllmServer) -> None:
    died = Event()

    def ask(seed: int) -> tuple[bool, Any]:
        is_after = died.is_set()
        return is_after, guard.create(QUESTION, temperature=1.0, seed=seed, max_tokens=200)

    with guard_before([spare.url, vllm.url]) as guard:
        wait_for(lambda: all(up for up, _ in guard.replica_states().values()), PATIENCE)
        guard.wait()
        idle = spare.metric("vllm:generation_tokens_total")
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, seed) for seed in range(40)]
            wait_for(lambda: spare.metric("vllm:num_requests_running") >= 2, PATIENCE)
            wait_for(lambda: spare.metric("vllm:generation_tokens_total") > idle + 100, PATIENCE)
            spare.kill()
            died.set()
            replies = [future.result(PATIENCE) for future in asked]
    lost = 0
    for is_after, reply in replies:
        if reply.safer["failure"] is None:
            guard.check(reply)
        else:
            assert (reply.safer["failure"], reply.choices[0].message.content) == ("engine_fault", None)
            assert not is_after
            lost += 1
    assert 1 <= lost <= 8
