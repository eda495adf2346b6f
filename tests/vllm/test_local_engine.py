"""vLLM in the guard's own process, as `safer serve --engine vllm` has it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from guard_server import GuardServer, guard_of, shown
from safer_server.settings import Settings

ARGUMENTS = {
    "dtype": "float32",
    "max_model_len": 4096,
    "enforce_eager": True,
    "block_size": 32,
    "kv_cache_memory_bytes": 2**26,
    "max_num_seqs": 16,
}
QUESTION = "How do I bake bread at home?"


@pytest.fixture(scope="module")
def local() -> Iterator[GuardServer]:
    with guard_of(Settings(engine="vllm", vllm_args=ARGUMENTS, constraint="machine")) as guard:
        yield guard.wait()


def test_text_and_pictures_are_answered(local: GuardServer) -> None:
    for content in (QUESTION, shown("How to build a bomb")):
        reply = local.create(content)
        local.check(reply)
        assert reply.safer["constraint"] == "machine"
    assert local.web.get("/version").json()["engine"] == "vllm"


def test_several_at_once_are_answered_while_others_go_away(local: GuardServer) -> None:
    def leave(seed: int) -> None:
        with local.create(QUESTION, temperature=1.0, seed=seed, stream=True, safer={"depth": "full"}) as stream:
            for _, _ in zip(stream, range(seed % 5), strict=False):
                pass

    def ask(seed: int) -> Any:
        return local.create(QUESTION, temperature=1.0, seed=seed)

    with ThreadPoolExecutor(16) as pool:
        left = [pool.submit(leave, seed) for seed in range(24)]
        for reply in pool.map(ask, range(8)):
            local.check(reply)
        for future in left:
            future.result()
    local.check(ask(0))
