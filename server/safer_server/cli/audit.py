"""`safer audit`."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from safer_server.cli.options import AllowMismatch, EngineKind, Model

if TYPE_CHECKING:
    from safer_server.audit.store import Filter, Snapshot, Store
    from safer_server.settings import Settings

audit = typer.Typer(
    help="The audit log: what a server recorded of every case. Reads the same SAFER_ settings as the server.",
    no_args_is_help=True,
)


class Format(StrEnum):
    """Forms of an export."""

    JSONL = "jsonl"
    PARQUET = "parquet"


_TIMES = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%d"]

Url = Annotated[
    str | None, typer.Option(help="The database. Default: the server's.", envvar="SAFER_AUDIT_URL", show_envvar=False)
]
Since = Annotated[
    datetime | None, typer.Option(help="From this time on, UTC unless it says otherwise.", formats=_TIMES)
]
Until = Annotated[datetime | None, typer.Option(help="Before this time.", formats=_TIMES)]
File = Annotated[Path | None, typer.Argument(help="An export (JSON lines) to prove, in place of the database.")]
KeyFiles = Annotated[
    list[Path] | None,
    typer.Option("--keys", help="Public keys to believe; may be given several times. Default: the server's own."),
]
Partial = Annotated[bool, typer.Option("--partial", help="An export of a part: a chain may begin anywhere.")]


@audit.command()
def export(
    out: Annotated[Path, typer.Option(help="The file to write.")],
    format: Annotated[Format, typer.Option(help="jsonl can be proven like the database; parquet is for analysis.")] = (
        Format.JSONL
    ),
    since: Since = None,
    until: Until = None,
    url: Url = None,
) -> None:
    """Write records to a file, chain by chain."""
    from safer_server.audit.export import write_jsonl, write_parquet
    from safer_server.cli.progress import record_bar

    wanted = _between(since, until)
    with (
        _faults_told(),
        _store(_settings(url)) as store,
        store.snapshot() as log,
        record_bar("exporting", log.count(wanted)) as tell,
    ):
        match format:
            case Format.JSONL:
                with out.open("wb") as file:
                    write_jsonl(log.rows(wanted), log.tombstones(), file, tell)
            case Format.PARQUET:
                write_parquet(log.rows(wanted), out, tell)


@audit.command()
def verify(file: File = None, keys: KeyFiles = None, partial: Partial = False, url: Url = None) -> None:
    """Prove the log offline: signatures, hashes, the chain of each server process, and every trace.

    Names the first record that is broken, and exits with 1. The keys must come from where the log cannot be changed.
    """
    from safer_server.audit.heads import Heads
    from safer_server.audit.keyring import PUBLIC, PublicKeys, read_public
    from safer_server.audit.log import HEADS
    from safer_server.audit.verification import BrokenError, Verifier
    from safer_server.cli.options import policies_of
    from safer_server.cli.progress import record_bar

    settings = _settings(url)
    with _faults_told():
        known = [read_public(each).keys for each in keys or [settings.audit_dir / PUBLIC]]
        merged = PublicKeys({name: key for each in known for name, key in each.items()})
        toolkits = {policy.policy_hash: policy.toolkit for policy in policies_of(settings).values()}
        verifier = Verifier(merged, toolkits, partial)
        try:
            if file is None:
                least = Heads(settings.audit_dir / HEADS).read()
                with _store(settings) as store, store.snapshot() as log, record_bar("proving", log.count()) as tell:
                    _verify_log(log, verifier, tell)
                verifier.finish(least)
            else:
                with record_bar("proving", None) as tell, file.open("rb") as lines:
                    _verify_lines(lines, verifier, tell)
        except BrokenError as broken:
            typer.echo(f"broken after {verifier.records} records: {broken}", err=True)
            raise typer.Exit(1) from None
    for server, link in sorted(verifier.heads.items()):
        typer.echo(f"{server} ends with number {link.sequence}, {link.receipt}")
    unchecked = f", {verifier.unchecked} traces not kept or under a policy not at hand" if verifier.unchecked else ""
    typer.echo(f"proven: {verifier.records} records{unchecked}")


def _verify_log(log: "Snapshot", verifier: Any, tell: Any) -> None:
    from safer_server.audit.export import entry_of

    for text in log.tombstones():
        verifier.take_tombstone(text.encode())
    for row in log.rows():
        verifier.take(entry_of(row), row)
        tell(verifier.records)


def _verify_lines(lines: Any, verifier: Any, tell: Any) -> None:
    from safer_server.audit.verification import take_line

    for line in lines:
        take_line(verifier, line.removesuffix(b"\n"))
        tell(verifier.records)


@audit.command()
def replay(
    trace_id: Annotated[str, typer.Argument(help="The record.")],
    model: Model = None,
    engine: EngineKind = None,
    allow_protocol_mismatch: AllowMismatch = None,
    url: Url = None,
) -> None:
    """Judge a recorded case again with the engine that the settings name; show where plan, trace or decision differ.

    Exits with 1 where they do. Needs a record with SAFER_AUDIT_CONTENT=full.
    """
    import asyncio

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from safer_server.app import intake
    from safer_server.audit.record import AuditRecord
    from safer_server.audit.replay import Difference, ReplayError
    from safer_server.audit.replay import replay as run_again
    from safer_server.cli.display import printable
    from safer_server.cli.options import engine_of, policies_of
    from safer_server.errors import ApiError
    from safer_server.guard import Guard
    from safer_server.readiness import until_up

    settings = _settings(url, model=model, engine=engine, allow_protocol_mismatch=allow_protocol_mismatch)
    with _faults_told(), _store(settings) as store:
        entry = store.find(trace_id)
        if entry is None:
            _complain(f"{trace_id}: there is no such record")
        record = AuditRecord.model_validate_json(entry.record)
    policies = policies_of(settings)
    runner = engine_of(settings, policies)

    async def run() -> list[Difference]:
        await runner.start()
        try:
            async with asyncio.timeout(settings.first_token_seconds):
                await until_up(runner)
            return await run_again(record, intake(settings, runner, policies), Guard(runner, settings.request_seconds))
        finally:
            await runner.close()

    try:
        found = asyncio.run(run())
    except ReplayError as error:
        _complain(f"{trace_id} cannot be replayed: {error}")
    except ApiError as error:
        _complain(f"{trace_id} cannot be replayed: {error.message}")
    except TimeoutError:
        _complain("the engine does not answer")
    if not found:
        typer.echo(f"the same: {record.decision or record.failure}, {len(record.tools)} steps")
        return
    table = Table("where", "recorded", "replayed")
    for one in found:
        table.add_row(*(Text(printable(cell)) for cell in (one.where, one.recorded, one.replayed)))
    Console(highlight=False).print(table)
    raise typer.Exit(1)


@audit.command()
def prune(
    days: Annotated[int | None, typer.Option(help="Keep records of so many days. Default: the server's.")] = None,
    bytes: Annotated[int | None, typer.Option(help="Keep so many bytes of the newest. Default: the server's.")] = None,
    url: Url = None,
) -> None:
    """Remove old records now; a signed tombstone in their place keeps each chain provable."""
    from safer_server.audit.keyring import open_keyring
    from safer_server.audit.retention import Retention

    settings = _settings(url, audit_days=days, audit_bytes=bytes)
    with _faults_told(), _store(settings) as store:
        signer, _ = open_keyring(settings.audit_dir, settings.receipt_key_file)
        retention = Retention(settings.audit_days, settings.audit_bytes)
        typer.echo(f"removed {retention.prune(store, signer)} records")


@audit.command()
def migrate(url: Url = None) -> None:
    """Bring the tables of the database to the form of this version; a server does so by itself."""
    from safer_server.audit.database import migrate as run_migrations

    settings = _settings(url)
    with _faults_told(), _store(settings) as store:
        settings.audit_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        run_migrations(store.engine)


@audit.command()
def rotate_key() -> None:
    """Make a new key for receipts; the server takes it at its next start, and old receipts stay provable."""
    from safer_server.audit.keyring import rotate

    settings = _settings(None)
    with _faults_told():
        typer.echo(f"receipts will be signed with {rotate(settings.audit_dir, settings.receipt_key_file).kid}")


def _settings(url: str | None, **options: object) -> "Settings":
    from safer_server.cli.options import settings_with

    return settings_with(audit_url=url, **options)


@contextmanager
def _store(settings: "Settings") -> Iterator["Store"]:
    from safer_server.audit.database import open_database
    from safer_server.audit.log import database_url
    from safer_server.audit.store import Store

    store = Store(open_database(database_url(settings)))
    try:
        yield store
    finally:
        store.engine.dispose()


def _between(since: datetime | None, until: datetime | None) -> "Filter":
    from datetime import UTC

    from safer_server.audit.store import Filter

    aware = [time if time is None or time.tzinfo else time.replace(tzinfo=UTC) for time in (since, until)]
    return Filter({}, since=aware[0], until=aware[1])


@contextmanager
def _faults_told() -> Iterator[None]:
    """End the program with a message where a file, key or database cannot be used."""
    from sqlalchemy.exc import SQLAlchemyError

    from safer_server.audit.database import DatabaseUrlError
    from safer_server.audit.keyring import KeyringError

    try:
        yield
    except (KeyringError, DatabaseUrlError) as error:
        _complain(str(error))
    except SQLAlchemyError as error:
        _complain("the audit database: " + str(getattr(error, "orig", error)).partition("\n")[0])
    except ModuleNotFoundError as error:
        _complain(f"this needs {error.name}: pip install 'safer-toolkit[parquet]'")
    except OSError as error:
        _complain(f"{error.filename}: {error.strerror}")


def _complain(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
