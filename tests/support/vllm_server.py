"""vLLM servers for tests: real processes on loopback, started, stopped and killed by their group."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from ports import free_port
from safer_server.settings import PACKAGED_CHECKPOINT
from waiting import PATIENCE, wait_for

START_SECONDS = 600
"""Time to load: 20 s on a quiet machine, minutes on a very busy one."""

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # more threads wait for one another, badly so on a busy machine
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}

SMALL = (
    *("--dtype", "float32", "--max-model-len", "4096", "--max-num-seqs", "16"),
    *("--enforce-eager", "--block-size", "32", "--kv-cache-memory-bytes", "64M"),
)
"""Arguments of a vLLM that starts quickly on a CPU."""

CONSTRAINED = (str(Path(sys.executable).with_name("safer")), "vllm", "--model", str(PACKAGED_CHECKPOINT))
STOCK = (
    *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(PACKAGED_CHECKPOINT)),
    *("--host", "127.0.0.1", "--enable-scale-out", "--limit-mm-per-prompt", '{"video": 0}'),
)


class VllmServer:
    """One vLLM server on a port of its own, which it keeps when it is started again."""

    def __init__(self, folder: Path, command: Sequence[str] = CONSTRAINED, arguments: Sequence[str] = ()) -> None:
        """Start it; its log is a file in the folder."""
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.log = folder / f"{self._port}.log"
        self._command = [*command, "--port", str(self._port), *SMALL, *arguments]
        self.start()

    def start(self) -> None:
        """Start its processes, in a group of their own."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env={**os.environ, **ENVIRONMENT}, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self) -> "VllmServer":
        """Wait until it is loaded."""

        def answers() -> bool:
            assert self.is_running, self.log.read_text()[-4000:]
            try:
                return httpx.get(f"{self.url}/health", timeout=5, trust_env=False).is_success
            except httpx.TransportError:
                return False

        wait_for(answers, START_SECONDS)
        return self

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes."""
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it without a chance to say good-bye."""
        self.signal(signal.SIGKILL)
        self._process.wait(30)

    def stop(self) -> None:
        """End it well if it still runs, and whatever is left of it in any case."""
        if self.is_running:
            self.signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        with suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)

    def metric(self, name: str, engine: str = "") -> float:
        """Read the sum of a metric over its series, or over those of one engine."""
        text = httpx.get(f"{self.url}/metrics", timeout=PATIENCE, trust_env=False).text
        series = [line for line in text.splitlines() if line.startswith(f'{name}{{engine="{engine}')]
        return sum(float(line.rpartition(" ")[2]) for line in series)
