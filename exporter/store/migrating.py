"""Bringing a database to this version, or refusing one that is not ours to change."""

from __future__ import annotations

import logging
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config as AlembicConfig
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

from exporter.errors import StoreError
from exporter.store.deadline import without_deadline
from exporter.store.tables import VERSION_TABLE, metadata

log = logging.getLogger(__name__)

_MIGRATIONS = Path(__file__).with_name("migrations")
_MIGRATION_LOCK = 4_120_713  # any fixed number: PostgreSQL advisory lock of those who migrate


def migrate(engine: Engine, name: str) -> None:
    """Bring the database to this version, one process at a time, all steps or none.

    Raises:
        StoreError: it is somebody else's, or of a newer version; nothing in it was changed.
    """
    config = AlembicConfig()
    config.set_main_option("script_location", str(_MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    with engine.connect() as connection:
        current = _checked_revision(connection, scripts, name)
        if engine.dialect.name == "postgresql":
            _check_server(connection, name)
    if engine.dialect.name == "sqlite":
        _use_wal(engine)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if current == head:
            _check_writable(connection)
            return
        with without_deadline(connection):  # a step may rewrite a large table, and others wait for it
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            # Asked again: another process may have migrated while we waited.
            current = _checked_revision(connection, scripts, name)
            if current == head:
                return
            config.attributes["connection"] = connection
            with EnvironmentContext(config, scripts, fn=lambda rev, _: scripts._upgrade_revs(str(head), rev)):
                scripts.run_env()
    if current is None:
        log.info("store created", extra={"store": name, "schema": head})
    else:
        log.info("store migrated", extra={"store": name, "from": current, "to": head})


def is_current(connection: Connection) -> bool:
    """Whether the database is one of this version."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(_MIGRATIONS))
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision() == ScriptDirectory.from_config(config).get_current_head()


def _checked_revision(connection: Connection, scripts: ScriptDirectory, name: str) -> str | None:
    """The version of the database, ``None`` for an empty one; refuses one that is not ours."""
    current = MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE}
    ).get_current_revision()
    if current is None:
        ours = set(metadata.tables)
        if found := sorted(ours.intersection(sa.inspect(connection).get_table_names())):
            raise StoreError(
                f"store {name} holds tables that ci-exporter did not make ({', '.join(found)});"
                " nothing was changed. Point store.url at a database of its own"
            )
    elif current not in {script.revision for script in scripts.walk_revisions()}:
        raise StoreError(
            f"store {name} was written by a newer version of ci-exporter (schema {current}, this one"
            f" knows up to {scripts.get_current_head()}); nothing was changed. Upgrade it, or point"
            " store.url elsewhere"
        )
    return current


def _check_server(connection: Connection, name: str) -> None:
    """Refuse a database that cannot take every text, or nothing at all."""
    if connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on":
        raise StoreError(f"store {name}: it is read-only, a standby perhaps. Point store.url at the primary")
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise StoreError(
            f"store {name}: its encoding {encoding} cannot hold every name. Create the database"
            " with ENCODING 'UTF8'"
        )


def _check_writable(connection: Connection) -> None:
    """Try a write and take it back: that nothing can be saved is better known at the start."""
    connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = version_num")
    connection.rollback()


def _use_wal(engine: Engine) -> None:
    """Let readers and the writer of an SQLite file not wait for each other; the file remembers it.

    Only now that the file is known to be ours: it changes the file's header.
    """
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] == "delete":
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()
    finally:
        raw.close()
