"""Options that several commands share, and settings with these options put over the environment."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from safer_server.engines.base import Engine
    from safer_server.policies import Policies
    from safer_server.settings import Settings

Model = Annotated[
    Path | None,
    typer.Option(help="Directory of the checkpoint. Default: the small one that ships.", envvar="SAFER_MODEL"),
]
EngineKind = Annotated[
    str | None,
    typer.Option(
        help="hf (default; the checkpoint in this process), vllm (the same in vLLM), vllm-http (vLLM servers) or scripted.",
        envvar="SAFER_ENGINE",
    ),
]
PolicyFiles = Annotated[
    list[Path] | None,
    typer.Option("--policy", help="A policy file to serve beside the default policy; may be given several times."),
]
AllowMismatch = Annotated[
    bool | None,
    typer.Option(
        "--allow-protocol-mismatch",
        help="Use a checkpoint although it was trained on another protocol, or on none.",
        envvar="SAFER_ALLOW_PROTOCOL_MISMATCH",
    ),
]


def settings_with(**options: object) -> "Settings":
    """Read the settings; options that are given go first. Ends the program where one of them is wrong."""
    from pydantic import ValidationError

    from safer_server.settings import Settings

    try:
        return Settings.model_validate({key: value for key, value in options.items() if value is not None})
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            name = "_".join(str(step) for step in detail["loc"])
            where = f"SAFER_{name.upper()} (--{name.replace('_', '-')}): " if name else ""
            typer.echo(where + detail["msg"].removeprefix("Value error, "), err=True)
        raise typer.Exit(2) from None


def put_into_environment(settings: "Settings", options: Mapping[str, object]) -> None:
    """Put the options that are given where a worker reads its settings."""
    given = {name for name, value in options.items() if value is not None}
    for name, value in settings.model_dump(mode="json", include=given).items():
        os.environ[f"SAFER_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)


def policies_of(settings: "Settings") -> "Policies":
    """Read the policy files; ends the program where one of them cannot be used."""
    from safer_protocol.toolkit import default_toolkit
    from safer_server.document import DocumentError
    from safer_server.policies import load_policies

    try:
        return load_policies(settings.policies, default_toolkit())
    except DocumentError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def check_edge_of(settings: "Settings") -> None:
    """Look at keys, certificate and tracing; ends the program where one of them cannot be used."""
    import ssl

    from safer_server.document import DocumentError
    from safer_server.engines.table import MissingExtraError
    from safer_server.keys import keys_of
    from safer_server.tracing import check_tracing

    try:
        keys_of(settings)
        if settings.tracing:
            check_tracing()
        if settings.tls_certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(settings.tls_certificate, settings.tls_key, password="")
    except (DocumentError, MissingExtraError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        typer.echo(f"SAFER_TLS_CERTIFICATE, SAFER_TLS_KEY: {error.strerror or error}", err=True)
        raise typer.Exit(1) from None


def check_audit_of(settings: "Settings") -> None:
    """Look at the audit log's folder and keys, and make them; ends the program where that cannot be done."""
    from safer_server.audit.database import DatabaseUrlError, open_database
    from safer_server.audit.keyring import KeyringError, open_keyring
    from safer_server.audit.log import database_url

    if not settings.audit:
        return
    try:
        open_database(database_url(settings)).dispose()
        open_keyring(settings.audit_dir, settings.receipt_key_file)
    except (KeyringError, DatabaseUrlError) as error:
        typer.echo(f"audit: {error} (SAFER_AUDIT=false turns the audit log off)", err=True)
        raise typer.Exit(1) from None


def check_engine_of(settings: "Settings", policies: "Policies") -> None:
    """Look at the engine's checkpoint without loading it; ends the program where it cannot be served."""
    from safer_server.checkpoint import CheckpointError
    from safer_server.engines.table import check_engine

    try:
        check_engine(settings, policies)
    except CheckpointError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def engine_of(settings: "Settings", policies: "Policies") -> "Engine":
    """Open the engine; ends the program where it cannot be opened."""
    from safer_server.checkpoint import CheckpointError
    from safer_server.cli.progress import compile_bar
    from safer_server.engines.table import MissingExtraError, open_engine

    try:
        with compile_bar() as progress:
            return open_engine(settings, policies, progress=progress)
    except (CheckpointError, MissingExtraError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
