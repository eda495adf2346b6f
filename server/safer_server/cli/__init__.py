"""The command line, `safer`: serve, ask, verify, protocol, keys, audit, and whatever other packages register.

What a command needs is imported when it runs, so that `safer --help` is quick.
"""

import typer

from safer_server.cli.ask import ask
from safer_server.cli.audit import audit
from safer_server.cli.keys import keys
from safer_server.cli.plugins import CommandGroup
from safer_server.cli.protocol import protocol
from safer_server.cli.serve import serve
from safer_server.cli.verify import verify
from safer_server.cli.vllm import vllm

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help=(
        "A guard for vision-language models: every request is planned, traced, decided and only then answered, and every "
        "trace is verified.\n\nStart with: safer serve, or without a server: safer ask 'How do I boil an egg?'"
    ),
)
app.command()(serve)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(vllm)
app.command()(ask)
app.command()(verify)
app.command()(protocol)
app.add_typer(keys, name="keys")
app.add_typer(audit, name="audit")
