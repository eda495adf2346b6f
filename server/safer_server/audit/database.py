"""The database: SQLite in the audit folder, or PostgreSQL for several servers; opened, and its tables brought up to date."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x5AFE
_SECONDS = 5
"""Longest wait for a lock of SQLite's, or for a connection to PostgreSQL."""


class DatabaseUrlError(ValueError):
    """Not the URL of a database that the audit log can use."""


def open_database(url: str) -> Engine:
    """Make the engine; connects when it is first used. Raise `DatabaseUrlError`."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseUrlError("Not a database URL") from None
    match parsed.get_backend_name():
        case "sqlite":
            engine = create_engine(parsed, connect_args={"timeout": _SECONDS}, hide_parameters=True)
            event.listen(engine, "connect", _set_up_sqlite)
            return engine
        case "postgresql":
            arguments = {"connect_timeout": _SECONDS, "options": "-c statement_timeout=30000"}
            driver = parsed.set(drivername="postgresql+psycopg")
            return create_engine(driver, connect_args=arguments, pool_pre_ping=True, hide_parameters=True)
        case _:
            raise DatabaseUrlError("Neither sqlite:///FILE nor postgresql://USER:PASSWORD@HOST/DATABASE")


def migrate(engine: Engine) -> None:
    """Bring the tables to their newest form; several servers may do so at once."""
    with engine.begin() as connection:
        _lock(connection)
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _lock(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")


def _set_up_sqlite(connection: Any, _: object) -> None:
    """Let readers and the writer work at once, and make a commit final even if the machine dies."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
