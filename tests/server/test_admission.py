"""Admission: limits on running and waiting requests, and the order of waiting ones."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from safer_server.admission import Admission
from safer_server.engines.base import EngineRequest
from safer_server.engines.scripted import ScriptedEngine, Take
from safer_server.errors import OverloadedError
from waiting import PATIENCE


def test_slots_go_by_arrival_and_the_queue_ends() -> None:
    async def run() -> list[int]:
        admission = Admission(1, 2, 7)
        order: list[int] = []
        release = asyncio.Event()

        async def hold(number: int) -> None:
            async with admission.slot():
                order.append(number)
                await release.wait()

        tasks = [asyncio.create_task(hold(number)) for number in range(3)]
        await asyncio.sleep(0)
        assert (admission.in_flight, admission.waiting) == (1, 2)
        with pytest.raises(OverloadedError) as error:
            await hold(3)
        assert error.value.headers == {"Retry-After": "7"}
        release.set()
        await asyncio.gather(*tasks)
        assert (admission.in_flight, admission.waiting) == (0, 0)
        return order

    assert asyncio.run(run()) == [0, 1, 2]


def test_who_gives_up_waiting_leaves_the_queue() -> None:
    async def run() -> None:
        admission = Admission(1, 1, 1)
        async with admission.slot():
            waiting = asyncio.create_task(admission.slot().__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert admission.waiting == 0
        async with admission.slot():
            assert admission.in_flight == 1

    asyncio.run(run())


def test_a_full_queue_is_a_503_that_says_when_to_come_back(
    live: Callable[..., Any], written: Callable[[str], str], chat_body: Callable[..., dict[str, Any]]
) -> None:
    release, began = asyncio.Event(), threading.Event()

    def script(request: EngineRequest) -> Take:
        if request.turns[-1].text != "slow":
            return Take(written("hello"))
        began.set()
        return Take(written("hello"), wait_at=3, event=release)

    server = live(ScriptedEngine(script), max_in_flight=1, max_queue=0, retry_after=3)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: server.openai.chat.completions.create(**chat_body("slow")))
        assert began.wait(PATIENCE)
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as error:
                server.openai.chat.completions.create(**chat_body(), stream=stream)
            assert (error.value.status_code, error.value.code) == (503, "overloaded")
            assert error.value.response.headers["retry-after"] == "3"
        server.loop.call_soon_threadsafe(release.set)
        assert slow.result(PATIENCE).safer["outcome"] == "answered"
    assert server.openai.chat.completions.create(**chat_body()).safer["outcome"] == "answered"
    metrics = httpx.get(f"{server.url}/metrics", trust_env=False, timeout=PATIENCE).text
    assert "\nsafer_turned_away_total 2.0\n" in metrics
