"""`safer vllm`."""

import os
from typing import Annotated

import typer

from safer_server.cli.options import AllowMismatch, Model, PolicyFiles, check_engine_of, policies_of, settings_with

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(help="Port to listen on.")]


def vllm(
    context: typer.Context,
    model: Model = None,
    policy: PolicyFiles = None,
    host: Host = "127.0.0.1",
    port: Port = 8001,
    allow_protocol_mismatch: AllowMismatch = None,
) -> None:
    """Start a vLLM server that the mask machine constrains, for `safer serve --engine vllm-http`.

    Whatever else is given goes to vLLM as it is, such as --tensor-parallel-size 2 or --data-parallel-size 2. Serve the same
    policies on both sides.
    """
    from importlib.util import find_spec

    from safer_server.cli.progress import compile_bar
    from safer_server.vllm.launch import server_command, set_environment
    from safer_server.vllm.machines import compile_all

    if find_spec("vllm") is None:
        typer.echo("vLLM is not installed here: pip install 'safer-toolkit[vllm]'", err=True)
        raise typer.Exit(1)
    settings = settings_with(
        model=model, policies=policy or None, engine="vllm", allow_protocol_mismatch=allow_protocol_mismatch
    )
    check_engine_of(settings, policies_of(settings))
    set_environment(settings.policies)
    with compile_bar() as progress:
        compile_all(str(settings.model), progress)
    command = server_command(settings.model, host, port, context.args)
    os.execvp(command[0], command)  # signals then reach vLLM itself
