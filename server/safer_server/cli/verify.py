"""`safer verify`."""

from typing import Annotated

import typer

File = Annotated[typer.FileBinaryRead, typer.Argument(help="A file with plan and trace, as text or JSON; - for stdin.")]


def verify(file: File) -> None:
    """Check a plan and trace, with its answer or without, against the protocol.

    Text is the wire form (a reply's `reasoning` is); JSON is an object with `plan`, `trace` and perhaps `answer`, or with
    `text`. Prints every violation; exits with 1 where there is one.
    """
    from pydantic import ValidationError
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from safer_protocol.toolkit import default_toolkit
    from safer_server.body import invalid
    from safer_server.cli.display import printable
    from safer_server.routes.protocol import TraceToVerify

    text = file.read().decode("utf-8", errors="replace")
    try:
        subject = TraceToVerify.model_validate_json(text) if text.lstrip()[:1] == "{" else TraceToVerify(text=text)
    except ValidationError as error:
        typer.echo(invalid(error.errors(include_url=False, include_input=False)[0]).message, err=True)
        raise typer.Exit(1) from None
    report = subject.report(default_toolkit())
    console = Console(highlight=False)
    if report.valid:
        console.print(f"valid: decision {report.decision}")
        return
    table = Table("code", "step", "field", "message")
    for violation in report.violations:
        step = "" if violation.step is None else str(violation.step)
        table.add_row(
            *(Text(printable(cell)) for cell in (violation.code, step, violation.field or "", violation.message))
        )
    console.print(table)
    console.print(f"not valid, violations: {len(report.violations)}")
    raise typer.Exit(1)
