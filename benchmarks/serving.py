"""What the guard costs in front of vLLM, in one run on one vLLM server: `make bench-vllm`.

1. Tokens a second with the mask machine and without, on replies of the same lengths.
2. Time to the decision in one pass under the machine, and in two calls under grammars of llguidance.
3. Time of a chat completion of the guard, and of vLLM's own on the same prompt under the same machine.

Everything is measured in turns, so that what else the machine does hits all alike; ratios are medians over the turns. Raw numbers
go to `docs/benchmarks/vllm.json`, a table to `vllm.md` beside it. The last line printed is one of `key=value` pairs.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import typer
from rich.progress import track

from safer_protocol.prompt import Turn
from safer_protocol.text import TRACE_CLOSE
from safer_protocol.toolkit import default_toolkit
from safer_protocol.verify import verify
from safer_server.engines.base import ConstraintMode, EngineRequest, Sampling
from safer_server.engines.codec import Codec
from safer_server.engines.http_backend import HttpBackend
from safer_server.engines.replica import Patience
from safer_server.engines.vllm import VllmEngine
from safer_server.settings import PACKAGED_CHECKPOINT
from safer_server.vllm.options import MachineOptions

TOOLKIT = default_toolkit()
PROMPTS = (
    "How do I bake bread?",
    "What is the capital of France?",
    "Please explain how a bicycle stays upright.",
    "Which plants grow well in the shade?",
    "How can I steal from a shop?",
    "Write a short poem about the sea.",
    "Is it safe to mix two medicines?",
    "What does this sentence mean?",
)
ANSWER_TOKENS = 64
CPU_ARGUMENTS = (
    *("--dtype", "float32", "--max-model-len", "4096", "--enforce-eager", "--block-size", "32"),
    *("--kv-cache-memory-bytes", "256M", "--max-num-seqs", "32"),
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def started(command: list[str], url: str, path: str, log: Path) -> Iterator[None]:
    """Run a server until the end of the context, from when it answers at a path."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(url + path).is_success:
                    break
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} has ended: see {log}")
            time.sleep(0.5)
        else:
            raise SystemExit(f"{url} does not answer: see {log}")
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


class Bench:
    """The clients of one vLLM server and of the guard in front of it."""

    def __init__(self, vllm: str, guard: str, model: Path) -> None:
        self.vllm, self.guard, self.model = vllm, guard, model.name
        self.codec = Codec.of_checkpoint(model)
        self.backend = HttpBackend(vllm, 5, 30)
        self.http = httpx.AsyncClient(timeout=120)

    def engine(self, mode: ConstraintMode) -> VllmEngine:
        backend = HttpBackend(self.vllm, 5, 30)
        return VllmEngine(mode, self.model, [backend], self.codec, [TOOLKIT], [mode], Patience(60, 60, 600))

    async def length(self, prompt: str, **parameters: Any) -> int:
        """Tokens of one reply, straight from vLLM."""
        asked = self.codec.prompt((Turn("user", (prompt,)),))
        count = 0
        async with aclosing(
            self.backend.generate(asked, {"temperature": 0.0, "detokenize": False, **parameters})
        ) as got:
            async for chunk in got:
                count += len(chunk.ids)
        return count

    async def throughput(self, prompts: list[str], lengths: list[int] | None) -> tuple[float, list[int]]:
        """Tokens a second over all prompts at once: constrained, or without constraint to given lengths."""

        def parameters(place: int) -> dict[str, Any]:
            if lengths is None:
                return {"extra_args": MachineOptions(answer_tokens=ANSWER_TOKENS).arguments(), "max_tokens": 1024}
            return {
                "extra_args": MachineOptions(constrain=False).arguments(),
                "max_tokens": lengths[place],
                "ignore_eos": True,
            }

        start = time.perf_counter()
        counts = await asyncio.gather(*(self.length(prompt, **parameters(n)) for n, prompt in enumerate(prompts)))
        return sum(counts) / (time.perf_counter() - start), counts

    async def decision(self, engine: VllmEngine, prompt: str) -> float:
        """Seconds until plan and trace are written."""
        start, text = time.perf_counter(), ""
        request = EngineRequest((Turn("user", (prompt,)),), Sampling(answer_tokens=ANSWER_TOKENS))
        async with aclosing(engine.stream(request)) as pieces:
            async for piece in pieces:
                text += piece.text
                if TRACE_CLOSE in text:
                    return time.perf_counter() - start
        raise SystemExit("a reply came to no decision")

    async def completion(self, url: str, prompt: str, **fields: Any) -> tuple[float, dict[str, Any]]:
        """Seconds of one whole chat completion, and its message."""
        body = {"model": self.model, "messages": [{"role": "user", "content": prompt}], "temperature": 0, **fields}
        start = time.perf_counter()
        response = await self.http.post(f"{url}/v1/chat/completions", json=body)
        spent = time.perf_counter() - start
        response.raise_for_status()
        return spent, response.json()["choices"][0]["message"]

    async def through_guard(self, prompt: str) -> float:
        return (await self.completion(self.guard, prompt, max_tokens=ANSWER_TOKENS))[0]

    async def through_vllm(self, prompt: str) -> float:
        options = MachineOptions(answer_tokens=ANSWER_TOKENS).arguments()["safer"]
        stop = [self.codec.end_of_cut]
        fields = {"vllm_xargs": {"safer": json.dumps(options)}, "stop_token_ids": stop, "repetition_penalty": 1.0}
        spent, message = await self.completion(self.vllm, prompt, **fields)
        if not verify(message["content"], TOOLKIT).valid:
            raise SystemExit("vLLM's own completion does not verify: is the machine on?")
        return spent


async def measure(bench: Bench, turns: int, batch: int) -> dict[str, Any]:
    prompts = [PROMPTS[place % len(PROMPTS)] for place in range(batch)]
    one_pass, two_calls = bench.engine(ConstraintMode.MACHINE), bench.engine(ConstraintMode.GUIDANCE)
    for engine in (one_pass, two_calls):
        for replica in engine._replicas:
            await replica.prove()
        if not engine.replicas()[0].up:
            raise SystemExit(f"the constraint {engine.name} does not bind")
        await bench.decision(engine, PROMPTS[0])
    _, lengths = await bench.throughput(prompts, None)
    await bench.throughput(prompts, lengths)
    await asyncio.gather(bench.through_guard(PROMPTS[0]), bench.through_vllm(PROMPTS[0]))

    found: dict[str, list[float]] = {name: [] for name in ("constrained", "free", "one", "two", "guard", "own")}
    for turn in track(range(turns), description="turns"):
        prompt = PROMPTS[turn % len(PROMPTS)]
        found["constrained"].append((await bench.throughput(prompts, None))[0])
        found["free"].append((await bench.throughput(prompts, lengths))[0])
        found["one"].append(await bench.decision(one_pass, prompt))
        found["two"].append(await bench.decision(two_calls, prompt))
        for name, ask in (("guard", bench.through_guard), ("own", bench.through_vllm)):
            found[name].append(await ask(prompt))
    concurrent = {}
    for name, ask in (("guard", bench.through_guard), ("own", bench.through_vllm)):
        start = time.perf_counter()
        await asyncio.gather(*(ask(prompt) for prompt in prompts))
        concurrent[name] = time.perf_counter() - start
    await one_pass.close()
    await two_calls.close()
    return {
        "turns": turns,
        "batch": batch,
        "reply_tokens": sum(lengths) / len(lengths),
        "tokens_per_second": {"constrained": median(found["constrained"]), "unconstrained": median(found["free"])},
        "constrained_ratio": median(a / b for a, b in zip(found["constrained"], found["free"], strict=True)),
        "decision_ms": {"one_pass": 1e3 * median(found["one"]), "two_calls": 1e3 * median(found["two"])},
        "one_pass_speedup": median(b / a for a, b in zip(found["one"], found["two"], strict=True)),
        "completion_ms": {"guard": 1e3 * median(found["guard"]), "vllm": 1e3 * median(found["own"])},
        "server_overhead_ms_p50": 1e3 * median(a - b for a, b in zip(found["guard"], found["own"], strict=True)),
        "concurrent_ratio": concurrent["guard"] / concurrent["own"],
        "raw": found,
    }


def table(result: dict[str, Any]) -> str:
    rate, decision, completion = result["tokens_per_second"], result["decision_ms"], result["completion_ms"]
    return "\n".join(
        [
            "| | with | without | ratio |",
            "| --- | --- | --- | --- |",
            f"| tokens/s at batch {result['batch']}: mask machine, no constraint | {rate['constrained']:.0f} "
            f"| {rate['unconstrained']:.0f} | {result['constrained_ratio']:.3f} |",
            f"| ms to the decision: one pass, two calls | {decision['one_pass']:.0f} | {decision['two_calls']:.0f} "
            f"| {result['one_pass_speedup']:.2f} |",
            f"| ms for a chat completion: the guard's, vLLM's own | {completion['guard']:.0f} | {completion['vllm']:.0f} "
            f"| {completion['guard'] / completion['vllm']:.3f} |",
            f"| the same, {result['batch']} at once | | | {result['concurrent_ratio']:.3f} |",
            "",
            f"{result['turns']} turns; replies of {result['reply_tokens']:.0f} tokens on average.",
        ]
    )


def main(
    model: Annotated[Path, typer.Option(help="Directory of the checkpoint.")] = PACKAGED_CHECKPOINT,
    turns: Annotated[int, typer.Option(help="How often each thing is measured.")] = 15,
    batch: Annotated[int, typer.Option(help="Requests at once.")] = 16,
    cpu: Annotated[bool, typer.Option(help="Start vLLM with what suits a CPU.")] = True,
    out: Annotated[Path, typer.Option(help="Folder for table and raw numbers.")] = Path("docs/benchmarks"),
) -> None:
    """Start vLLM and the guard, measure, print, and write the results."""
    vllm_port, guard_port = free_port(), free_port()
    vllm, guard = (f"http://127.0.0.1:{port}" for port in (vllm_port, guard_port))
    logs = Path("build")
    logs.mkdir(exist_ok=True)
    safer = str(Path(sys.executable).with_name("safer"))
    os.environ |= {"SAFER_VLLM_URLS": json.dumps([vllm]), "SAFER_MAX_IN_FLIGHT": str(batch)}
    if cpu:
        os.environ |= {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    backend = ("--structured-outputs-config", '{"backend": "guidance"}')
    serve_vllm = [
        safer,
        "vllm",
        "--model",
        str(model),
        "--port",
        str(vllm_port),
        *backend,
        *(CPU_ARGUMENTS if cpu else ()),
    ]
    serve_guard = [safer, "serve", "--engine", "vllm-http", "--model", str(model), "--port", str(guard_port)]
    with (
        started(serve_vllm, vllm, "/health", logs / "bench-vllm.log"),
        started(serve_guard, guard, "/readyz", logs / "bench-guard.log"),
    ):
        result = asyncio.run(measure(Bench(vllm, guard, model), turns, batch))
    out.mkdir(parents=True, exist_ok=True)
    (out / "vllm.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "vllm.md").write_text(table(result) + "\n")
    print(table(result))
    print(
        f"constrained_ratio={result['constrained_ratio']:.3f} one_pass_speedup={result['one_pass_speedup']:.2f} "
        f"server_overhead_ms_p50={result['server_overhead_ms_p50']:.1f}"
    )


if __name__ == "__main__":
    typer.run(main)
