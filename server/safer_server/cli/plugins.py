"""Commands of other packages: Typer apps under the entry-point group `safer.commands`, loaded when they are needed."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

GROUP = "safer.commands"


class CommandGroup(TyperGroup):
    """The commands of this package and then the registered ones."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name all commands."""
        return [*super().list_commands(ctx), *sorted(_registered())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a command, and load it if it is a registered one."""
        command = super().get_command(ctx, cmd_name)
        entry = _registered().get(cmd_name)
        if command is not None or entry is None:
            return command
        around = typer.Typer(add_completion=False)
        try:
            around.add_typer(entry.load(), name=cmd_name)
        except ModuleNotFoundError as error:
            _add_absent(around, cmd_name, f"{cmd_name} needs {error.name}: pip install 'safer-toolkit[train]'")
        return typer.main.get_group(around).commands[cmd_name]


def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _add_absent(around: typer.Typer, name: str, message: str) -> None:
    """Let a command whose packages are not installed say so."""

    @around.command(
        name,
        help=f"Not installed: {escape(message)}",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def say() -> None:
        typer.echo(message, err=True)
        raise typer.Exit(1)
