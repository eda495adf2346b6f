"""`safer serve`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from safer_server.cli.options import (
    AllowMismatch,
    EngineKind,
    Model,
    PolicyFiles,
    check_audit_of,
    check_edge_of,
    check_engine_of,
    engine_of,
    policies_of,
    put_into_environment,
    settings_with,
)

Host = Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.", envvar="SAFER_HOST")]
Port = Annotated[int | None, typer.Option(help="Port to listen on. Default: 8000.", envvar="SAFER_PORT")]
Workers = Annotated[
    int | None, typer.Option(help="Server processes that share the port. Default: 1.", envvar="SAFER_WORKERS")
]


def serve(
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    model: Model = None,
    engine: EngineKind = None,
    policy: PolicyFiles = None,
    allow_protocol_mismatch: AllowMismatch = None,
) -> None:
    """Serve the OpenAI-compatible API over HTTP.

    Every setting has a SAFER_ variable, listed in docs/settings.md; options go first. Point any OpenAI client at
    http://HOST:PORT/v1. /readyz turns 200 once a request of the server's own has come back verified.
    """
    from safer_server.workers import run_one, run_workers

    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "workers": workers,
        "model": model,
        "engine": engine,
        "policies": policy or None,
        "allow_protocol_mismatch": allow_protocol_mismatch,
    }
    settings = settings_with(**options)
    check_edge_of(settings)
    check_audit_of(settings)
    policies = policies_of(settings)
    if settings.workers == 1:
        from safer_server.app import create_app

        run_one(create_app(settings, engine_of(settings, policies), policies), settings)
        return
    check_engine_of(settings, policies)
    put_into_environment(settings, options)
    with _metrics_directory():
        if not run_workers(settings):
            raise typer.Exit(1)


@contextmanager
def _metrics_directory() -> Iterator[None]:
    """Give the workers a directory for the numbers that they share: the operator's, or one of their own."""
    from safer_server.metrics import SHARED_DIRECTORY

    if given := os.environ.get(SHARED_DIRECTORY):
        if not Path(given).is_dir():
            typer.echo(f"{SHARED_DIRECTORY}: {given} is not a directory", err=True)
            raise typer.Exit(1)
        yield
        return
    with TemporaryDirectory(prefix="safer-metrics-") as directory:
        os.environ[SHARED_DIRECTORY] = directory
        yield
