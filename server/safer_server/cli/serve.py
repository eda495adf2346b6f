"""`safer serve`."""

from typing import Annotated

import typer

from safer_server.cli.options import (
    AllowMismatch,
    EngineKind,
    Model,
    PolicyFiles,
    engine_of,
    policies_of,
    settings_with,
)

Host = Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.", envvar="SAFER_HOST")]
Port = Annotated[int | None, typer.Option(help="Port to listen on. Default: 8000.", envvar="SAFER_PORT")]


def serve(
    host: Host = None,
    port: Port = None,
    model: Model = None,
    engine: EngineKind = None,
    policy: PolicyFiles = None,
    allow_protocol_mismatch: AllowMismatch = None,
) -> None:
    """Serve the OpenAI-compatible API over HTTP.

    Every setting has a SAFER_ variable, listed in docs/settings.md; options go first. Point any OpenAI client at
    http://HOST:PORT/v1. /readyz turns 200 once a request of the server's own has come back verified.
    """
    import uvicorn

    from safer_server.app import create_app

    settings = settings_with(
        host=host,
        port=port,
        model=model,
        engine=engine,
        policies=policy or None,
        allow_protocol_mismatch=allow_protocol_mismatch,
    )
    policies = policies_of(settings)
    app = create_app(settings, engine_of(settings, policies), policies)
    uvicorn.run(app, host=settings.host, port=settings.port, log_level=settings.log_level, server_header=False)
