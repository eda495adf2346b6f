"""What the audit log costs a request: writing and signing one record, and requests a second with the log and without it.

`python benchmarks/audit.py` prints a table; the engine is the scripted one, which costs next to nothing itself.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from safer_server.app import create_app
from safer_server.audit.log import AuditLog
from safer_server.engines.scripted import ScriptedEngine
from safer_server.settings import Settings

REQUESTS, CONCURRENCY, ROUNDS = 300, 32, 3


async def seconds(settings: Settings) -> float:
    """Serve so many requests in this process; return how long it took."""
    app = create_app(settings, ScriptedEngine(characters=40))
    body = {"model": "scripted", "messages": [{"role": "user", "content": "How do I bake bread?"}]}
    todo = iter(range(REQUESTS))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://guard") as web,
    ):

        async def keep_asking() -> None:
            for _ in todo:
                (await web.post("/v1/chat/completions", json=body)).raise_for_status()

        start = time.perf_counter()
        await asyncio.gather(*(keep_asking() for _ in range(CONCURRENCY)))
        return time.perf_counter() - start


def main() -> None:
    """Measure in turns, so that what else the machine does falls on all alike."""
    writes: list[float] = []
    write = AuditLog._write

    def timed(*arguments: object) -> object:
        start = time.perf_counter()
        try:
            return write(*arguments)  # type: ignore[arg-type]
        finally:
            writes.append(time.perf_counter() - start)

    AuditLog._write = timed  # type: ignore[assignment,method-assign]
    found: dict[str, list[float]] = {"off": [], "redacted": [], "full": [], "redacted, fsync": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            for name, times in found.items():
                content, _, fsync = name.partition(", ")
                chosen = {"audit": False} if name == "off" else {"audit_content": content, "audit_fsync": bool(fsync)}
                settings = Settings(audit_dir=Path(folder) / f"{name}-{number}", max_queue=CONCURRENCY, **chosen)
                times.append(asyncio.run(seconds(settings)))
    print(f"writing and signing a record: {statistics.median(writes) * 1e6:.0f} us (median)")
    base = statistics.median(found["off"])
    for name, times in found.items():
        spent = statistics.median(times)
        print(f"{name:16} {REQUESTS / spent:6.0f} requests/s  ratio {base / spent:.2f}")


if __name__ == "__main__":
    main()
