"""`safer keys`."""

from typing import Annotated

import typer

keys = typer.Typer(help="API keys for a server.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Whose key it is: letters, digits, '_', '.', '-'; logs show it.")]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", help="What it opens: chat (default), audit, metrics; may be given several times."),
]
Rate = Annotated[str | None, typer.Option(help="Most requests in a time, such as 600/minute. Default: any number.")]
Concurrency = Annotated[int | None, typer.Option(help="Most requests at once. Default: any number.")]


@keys.callback()
def group() -> None:
    """Let `new` be a command of its own: Typer makes one of a group with a single command."""


@keys.command()
def new(name: Name, scope: Scopes = None, rate: Rate = None, concurrency: Concurrency = None) -> None:
    """Make a key; safer keys new alice >> keys.yaml shows it and adds its entry to the file.

    The entry goes to the standard output. The key goes to the standard error, this once: nobody can read it from the entry.
    """
    import yaml
    from pydantic import ValidationError

    from safer_server.keys import KeyEntry, digest_of, new_key

    key = new_key()
    fields = {
        "name": name,
        "sha256": digest_of(key),
        "scopes": scope or ["chat"],
        "rate": rate,
        "concurrency": concurrency,
    }
    try:
        entry = KeyEntry.model_validate(fields)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        typer.echo(f"{detail['loc'][0]}: {detail['msg'].removeprefix('Value error, ')}", err=True)
        raise typer.Exit(2) from None
    typer.echo(yaml.safe_dump([entry.model_dump(mode="json", exclude_none=True)], sort_keys=False), nl=False)
    typer.echo(key, err=True)
