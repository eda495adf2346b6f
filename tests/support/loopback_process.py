"""Servers that tests start as processes of their own, on loopback."""

import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from ports import free_port
from waiting import PATIENCE, wait_for


class LoopbackProcess:
    """A command that serves on the port that is appended to it; its group is stopped with it."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        port = free_port()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SAFER_")}
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(port)],
                env={**inherited, **environment},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def wait(self, path: str, seconds: float = PATIENCE) -> None:
        """Wait until a GET of `path` succeeds."""

        def answers() -> bool:
            assert self._process.poll() is None, self._log.read_text()[-4000:]
            try:
                with urllib.request.urlopen(self.url + path, timeout=5):
                    return True
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                return False

        wait_for(answers, seconds)

    def get(self, path: str) -> str:
        """Read what a path answers."""
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as response:
            text: str = response.read().decode()
            return text

    def stop(self) -> None:
        """End the process and all that it started."""
        if self._process.poll() is not None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
