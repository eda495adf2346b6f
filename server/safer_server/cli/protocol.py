"""`safer protocol`."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON, as GET /v1/protocol does.")]


PolicyFile = Annotated[Path | None, typer.Option("--policy", help="A policy file: print the protocol under it.")]


def protocol(as_json: AsJson = False, policy: PolicyFile = None) -> None:
    """Print the protocol in force: tools with their fields, personas, topologies, and the hash that names it all."""
    from rich.console import Console
    from rich.table import Table

    from safer_protocol.fields import Choice, Field
    from safer_server.cli.options import policies_of, settings_with
    from safer_server.protocol_card import protocol_card

    def kind(field: Field) -> str:
        return f"{field.key}: {' | '.join(field.words) if isinstance(field, Choice) else field.kind}"

    settings = settings_with(policies=(policy,) if policy else ())
    card = protocol_card(list(policies_of(settings).values())[-1])
    if as_json:
        typer.echo(card.model_dump_json(indent=2))
        return
    tools = Table("tool", "stage", "fields", title="Tools")
    for tool in card.tools:
        tools.add_row(
            f"{tool.name}\n[dim]{tool.meaning}[/dim]", tool.stage, "\n".join(kind(field) for field in tool.fields)
        )
    personas = Table("persona", "manner", title="Personas")
    for persona in card.personas:
        personas.add_row(persona.name, persona.meaning)
    topologies = Table("topology", "walks", title="Topologies")
    for topology in card.topologies:
        topologies.add_row(topology.name, topology.meaning)
    console = Console(highlight=False)
    console.print(tools, personas, topologies)
    console.print(f"protocol_hash {card.protocol_hash}", soft_wrap=True)
    if policy:
        console.print(f"policy_hash {card.policy_hash}", soft_wrap=True)
        console.print(f"not trained for: {', '.join(card.untrained) or 'nothing'}", soft_wrap=True)
