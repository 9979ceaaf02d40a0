"""Opening the database: engine, pragmas, migrations, and clear errors for all that can be wrong with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.config import Config as AlembicConfig
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import URL, Connection, Engine, make_url

from exporter.errors import StoreError

log = logging.getLogger(__name__)

_MIGRATIONS = Path(__file__).with_name("migrations")
_MIGRATION_LOCK = 4_120_713  # any fixed number: PostgreSQL advisory lock of those who migrate
_BUSY_SECONDS = 30
_ADVICE = {
    "file is not a database": "it is no SQLite database, or is damaged. Restore a backup, or move it away",
    "malformed": "it is damaged. Restore a backup, or recover what is left with `sqlite3 FILE .recover`",
    "readonly": "it cannot be written. Give this user write permission on the file and its folder",
    "read-only": "it cannot be written. Give this user write permission on the file and its folder",
    "unable to open": "it cannot be opened or created. Check that the folder exists and may be written",
    "full": "the disk is full. Free some space; nothing already stored is lost",
    "disk i/o error": "the disk reports an I/O error. Check it; nothing already stored was changed",
    "database is locked": f"another process locked it for {_BUSY_SECONDS} s. Stop it, or use PostgreSQL",
    "password authentication failed": "the user name or password is wrong",
    "connection refused": "no server answers there",
}


def open_engine(url: str) -> Engine:
    """An engine on *url*, its database migrated to this version.

    Raises:
        StoreError: the database cannot be used; nothing in it was changed.
    """
    try:
        parsed = _normalised(make_url(url))
    except sa.exc.ArgumentError:
        raise StoreError(
            "store.url is no database URL; write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        ) from None
    engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
    try:
        with store_errors(parsed):
            _migrate(engine, describe(parsed))
    except BaseException:
        engine.dispose()
        raise
    return engine


def describe(url: URL) -> str:
    """How a message names the database: the file, or host and database, never a password."""
    if url.get_backend_name() == "sqlite":
        return url.database or "the in-memory database"
    return f"{url.host or 'localhost'}/{url.database or ''}"


@contextmanager
def store_errors(url: URL) -> Iterator[None]:
    """Turn a database's errors into a `StoreError` that says what to do."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        lowered = str(error.orig).lower()
        advice = next((text for sign, text in _ADVICE.items() if sign in lowered), None)
        raise StoreError(
            f"store {describe(url)}: {advice or reason} ({type(error.orig).__name__})"
        ) from error
    except OSError as error:
        raise StoreError(f"store {describe(url)}: {error.strerror or error}") from error


def _normalised(url: URL) -> URL:
    """*url* with the driver we use; refuses other databases."""
    backend = url.get_backend_name()
    if backend == "sqlite":
        return url
    if backend in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    raise StoreError(f"store.url: {backend} is not supported; use sqlite:///FILE or postgresql://…")


def _postgresql(url: URL) -> Engine:
    """A pooled engine whose sessions tell the DBA who they are."""
    query = {"application_name": "ci-exporter", "connect_timeout": "10"} | dict(url.query)
    return sa.create_engine(url.set(query=query), pool_pre_ping=True, pool_size=5, max_overflow=10)


def _sqlite(url: URL) -> Engine:
    """An engine with WAL, so that readers and the writer do not wait for each other."""
    options: dict[str, Any] = {"connect_args": {"timeout": _BUSY_SECONDS, "check_same_thread": False}}
    if not url.database or url.database == ":memory:":
        options["poolclass"] = sa.pool.StaticPool
    engine = sa.create_engine(url, **options)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN would come too late and be deferred: we say it ourselves, below.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        # A power cut may take the last commits, but whole: counts and cursor go back together.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -16000")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later fails at once when another process wrote
        # in between; one that says so at the start waits its turn.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _migrate(engine: Engine, name: str) -> None:
    """Bring the database to this version, one process at a time, all steps or none."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(_MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    with engine.connect() as connection:
        if MigrationContext.configure(connection).get_current_revision() == head:
            return
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        current = MigrationContext.configure(connection).get_current_revision()
        if current == head:
            return
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise StoreError(
                f"store {name} was written by a newer version of ci-exporter (schema {current}, this one"
                f" knows up to {head}); nothing was changed. Upgrade it, or point store.url elsewhere"
            )
        if current is None:
            _refuse_foreign(connection, name)
        config.attributes["connection"] = connection
        with EnvironmentContext(config, scripts, fn=lambda rev, _: scripts._upgrade_revs(str(head), rev)):
            scripts.run_env()
    log.info("store migrated", extra={"from": current, "to": head})


def _refuse_foreign(connection: Connection, name: str) -> None:
    """Refuse a database in which somebody else has tables of our names."""
    ours = {"targets", "units", "runs", "jobs", "latest", "totals"}
    if found := sorted(ours.intersection(sa.inspect(connection).get_table_names())):
        raise StoreError(
            f"store {name} holds tables that ci-exporter did not make ({', '.join(found)});"
            " nothing was changed. Point store.url at a database of its own"
        )
