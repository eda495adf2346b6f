"""Two engines behind one port: every reply is constrained, whichever of them writes it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from guard_server import guard_before
from vllm_server import VllmServer


def test_both_engines_write_replies_that_verify(start_vllm: Callable[..., VllmServer]) -> None:
    server = start_vllm(arguments=("--data-parallel-size", "2")).wait()
    with guard_before([server.url], max_in_flight=16) as guard:
        guard.wait()
        with ThreadPoolExecutor(16) as pool:
            ask = lambda seed: guard.create("What is this?", temperature=1.0, seed=seed)  # noqa: E731
            replies = list(pool.map(ask, range(16)))
    for reply in replies:
        guard.check(reply)
    written = [server.metric("vllm:generation_tokens_total", engine=engine) for engine in ("0", "1")]
    assert all(tokens > 100 for tokens in written)
    server.stop()
