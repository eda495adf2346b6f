"""Server processes: one, or several on one port under uvicorn's supervisor, replaced when they die and drained at the end."""

import sys
from contextlib import suppress
from socket import socket
from typing import Any

from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from safer_server.logs import log_config
from safer_server.settings import Settings

_HUNG_SECONDS = 30
"""A worker that gives no sign of life for so long is replaced; importing torch and loading a model can take a while."""


def server_options(settings: Settings) -> dict[str, Any]:
    """What uvicorn is told, be it for one process or for several."""
    return {
        "host": settings.host,
        "port": settings.port,
        "log_config": log_config(settings),
        "server_header": False,
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": [str(network) for network in settings.trusted_proxies],
        "ssl_certfile": settings.tls_certificate,
        "ssl_keyfile": settings.tls_key,
        "timeout_graceful_shutdown": settings.shutdown_seconds,
    }


def run_one(app: FastAPI, settings: Settings) -> None:
    """Serve in this process until a signal ends it."""
    config = Config(app, **server_options(settings))
    server = Server(config)
    with suppress(KeyboardInterrupt):
        server.run(None if settings.internal_port is None else _bound(config, settings))
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def run_workers(settings: Settings) -> bool:
    """Serve until a signal ends it; return False where a worker could not start.

    Workers read their settings from the environment.
    """
    config = Config(
        "safer_server.asgi:create",
        factory=True,
        workers=settings.workers,
        timeout_worker_healthcheck=_HUNG_SECONDS,
        **server_options(settings),
    )
    supervisor = Supervisor(config, _bound(config, settings))
    supervisor.run()
    return not supervisor.gave_up


def _bound(config: Config, settings: Settings) -> list[socket]:
    """Bind the port, and the internal one where there is one."""
    if settings.internal_port is None:
        return [config.bind_socket()]
    internal = Config(config.app, **{**server_options(settings), "port": settings.internal_port})
    return [config.bind_socket(), internal.bind_socket()]


class Supervisor(Multiprocess):
    """Starts one worker before the others, clears up after dead ones, and says whether it gave up."""

    gave_up = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._seen: set[int | None] = set()

    def init_processes(self) -> None:
        """Start the others once the first serves: what would stop them all is said once, and caches are filled once."""
        self._start_one()
        while not self.processes[0].is_ready(timeout=1):
            self.handle_signals()
            if self.should_exit.wait(0.1):
                return
            if not self.processes[0].process.is_alive():
                self._give_up()
                return
        while len(self.processes) < self.processes_num:
            self._start_one()

    def keep_subprocess_alive(self) -> None:
        """Replace dead workers; take those that are gone out of the gauges."""
        if self.should_exit.is_set():
            return
        for process in self.processes:
            # The worker has its own copy. While ours is open, its death does not end the wait for its sign of life.
            process.child_conn.close()
        super().keep_subprocess_alive()
        if self.should_exit.is_set():  # uvicorn stops where a new worker says that it cannot start
            self._give_up()
        self._bury({process.pid for process in self.processes})

    def terminate_all(self) -> None:
        """Refuse new connections, which nobody would serve any more, and let the workers finish theirs."""
        for sock in self.sockets:
            sock.close()
        super().terminate_all()

    def join_all(self) -> None:
        """Wait for the workers to finish."""
        super().join_all()
        self._bury(set())

    def _start_one(self) -> None:
        process = Process(self.config, self.sockets)
        process.start()
        self._seen.add(process.pid)
        self.processes.append(process)

    def _give_up(self) -> None:
        self.gave_up = True
        self.should_exit.set()

    def _bury(self, living: set[int | None]) -> None:
        for pid in self._seen - living:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
        self._seen = living
