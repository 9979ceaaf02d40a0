"""Opening the database: engine, pragmas, and clear errors for all that can be wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import URL, Connection, Engine, make_url

from exporter.errors import StoreError, Unstorable
from exporter.store.deadline import connector
from exporter.store.migrating import is_current, migrate

_BUSY_SECONDS = 30
# No statement of ours comes near it on a server that works, since what we ask is bounded (a chunk, a batch):
# migrations alone are not, and have no deadline. As long as a connection that is cut has (tcp_user_timeout).
_ANSWER_SECONDS = 30.0
_LEASE_ANSWER_SECONDS = 5.0  # to ask for the lease is no work, and whoever polls should soon know
_NOT_WRITABLE = "it cannot be written. Give this user write permission on the file and its folder"
_SQLITE_ADVICE = {
    "file is not a database": "it is no SQLite database, or is damaged. Restore a backup, or move it away",
    "malformed": "it is damaged. Restore a backup, or recover what is left with `sqlite3 FILE .recover`",
    "readonly": _NOT_WRITABLE,
    "unable to open": "it cannot be opened or created. Check that the folder exists and may be written",
    "disk is full": "the disk is full. Free some space; nothing already stored is lost",
    "disk i/o error": "the disk reports an I/O error. Check it; nothing already stored was changed",
    "database is locked": "another process keeps it locked. Stop it, or use PostgreSQL",
}
_POSTGRESQL_ADVICE = {
    "password authentication failed": "the user name or password is wrong",
    "no password supplied": "the server wants a password. Put one into store.url, or use a password file",
    "connection refused": "no server answers there. Check host and port, and that it runs",
    "no such file": "no server answers there. Check the folder of its socket, and that it runs",
    "failed to resolve host": "there is no such host. Check its name in store.url",
    "timeout expired": "the server does not answer in time. Check host, port and firewall",
    "does not exist": "there is no such database or role. Create it, or correct store.url",
    "permission denied": "the user lacks a right. Make it the owner of the database",
    "read-only transaction": "it is read-only, a standby perhaps. Point store.url at the primary",
    "no space left": "the server's disk is full. Free some space; nothing already stored is lost",
    "connection slots": "the server takes no more connections. Raise its max_connections",
    "too many c": "the server takes no more connections. Raise its max_connections",
    "invalid connection option": "an option after the ? in store.url is unknown. Correct it",
}
_POSTGRESQL_OPTIONS = {
    "application_name": "ci-exporter",  # tells the DBA who we are
    "connect_timeout": "10",
    # A server that vanished without a word is noticed within a minute or so, not after hours; of one that
    # is frozen, the kernel still answers: see deadline.py.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


def open_engine(url: str) -> Engine:
    """An engine on *url*, its database migrated to this version.

    Raises:
        StoreError: the database cannot be used; nothing in it was changed.
    """
    try:
        parsed = _normalised(make_url(url))
    except (sa.exc.ArgumentError, ValueError):
        # Their own texts may repeat the URL, and its password.
        raise StoreError(
            "store.url is no database URL; write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        ) from None
    if parsed.get_backend_name() == "sqlite":
        engine = sqlite_engine(parsed)
    else:
        engine = _postgresql(parsed, _ANSWER_SECONDS, pool_size=5, max_overflow=10)
    try:
        with store_errors(parsed):
            migrate(engine, describe(parsed))
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def look_into(url: str) -> Iterator[Connection | None]:
    """A connection to a database that is there, for reading; ``None`` if it is not, or of another version.

    Neither creates it nor brings it to this version.

    Raises:
        StoreError: it cannot be read.
    """
    parsed = _normalised(make_url(url))
    if parsed.get_backend_name() == "sqlite":
        file = sqlite_file(parsed)
        if file is None or not file.exists():
            yield None
            return
        engine = sqlite_engine(parsed)
    else:
        engine = _postgresql(parsed, _ANSWER_SECONDS, pool_size=1, max_overflow=0)
    try:
        with store_errors(parsed), engine.connect() as connection:
            yield connection if is_current(connection) else None
    finally:
        engine.dispose()


def lease_engine(engine: Engine) -> Engine:
    """Another engine on *engine*'s PostgreSQL: one connection, which is given up sooner."""
    return _postgresql(engine.url, _LEASE_ANSWER_SECONDS, pool_size=1, max_overflow=0)


def describe(url: URL) -> str:
    """How a message names the database: the file, or host and database, never a password."""
    if url.get_backend_name() == "sqlite":
        return "the in-memory database" if in_memory(url) else str(url.database)
    return f"{url.host or url.query.get('host') or 'localhost'}/{url.database or ''}"


def in_memory(url: URL) -> bool:
    """Whether the database ends with this process."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def ends_with_us(url: str) -> bool:
    """Whether the database at *url* is in the memory of this process, so that no other can share it."""
    return in_memory(make_url(url))


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite database, also of one that is given as a ``file:`` URI."""
    if in_memory(url) or url.get_backend_name() != "sqlite":
        return None
    return Path(str(url.database).removeprefix("file:").partition("?")[0])


@contextmanager
def store_errors(url: URL) -> Iterator[None]:
    """Turn a database's errors into a `StoreError` that says what to do."""
    try:
        yield
    except (sa.exc.DBAPIError, psycopg.Error) as error:
        original = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        signs = _SQLITE_ADVICE if url.get_backend_name() == "sqlite" else _POSTGRESQL_ADVICE
        reason = str(original).strip().partition("\n")[0]
        lowered = str(original).lower()
        advice = next((text for sign, text in signs.items() if sign in lowered), None)
        refused = isinstance(error, (sa.exc.DataError, sa.exc.IntegrityError))
        kind = Unstorable if refused else StoreError
        raise kind(f"store {describe(url)}: {advice or reason} ({type(original).__name__})") from error
    except sa.exc.TimeoutError as error:
        raise StoreError(f"store {describe(url)}: all connections are in use; try again later") from error
    except OSError as error:
        raise StoreError(f"store {describe(url)}: {error.strerror or error}") from error


class _Hinting(SQLiteCompiler):
    """Writes ``with_hint(table, "INDEXED BY …", "sqlite")``: SQLAlchemy does so for other databases only."""

    def get_from_hint_text(self, table: Any, text: str | None) -> str | None:
        return text


def _normalised(url: URL) -> URL:
    """*url* with the driver we use; refuses other databases."""
    backend = url.get_backend_name()
    if backend == "sqlite":
        return url.set(drivername="sqlite")
    if backend in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    raise StoreError(f"store.url: {backend} is not supported; use sqlite:///FILE or postgresql://…")


def _postgresql(url: URL, answer_seconds: float, **pool: int) -> Engine:
    """A pooled engine; what the URL says goes before our options."""
    query = _POSTGRESQL_OPTIONS | dict(url.query)
    engine = sa.create_engine(url.set(query=query), pool_pre_ping=True, **pool)
    dialect: Any = engine.dialect
    dialect.do_ping = _sparing(dialect.do_ping)
    sa.event.listen(engine, "do_connect", connector(answer_seconds))
    return engine


def _sparing(ping: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """*ping*, spared where the server surely is there: it takes as long as a small question."""
    return lambda connection: connection.is_fresh() or ping(connection)


def sqlite_engine(url: URL) -> Engine:
    """An engine whose transactions say at their start whether they write."""
    if "timeout" not in url.query:
        url = url.update_query_dict({"timeout": str(_BUSY_SECONDS)})
    options: dict[str, Any] = {"connect_args": {"check_same_thread": False}}
    if in_memory(url):
        options["poolclass"] = sa.pool.StaticPool
    engine = sa.create_engine(url, **options)
    engine.dialect.statement_compiler = _Hinting

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN would come too late and be deferred: we say it ourselves, below.
        connection.isolation_level = None
        # A power cut may take the last commits, but whole: counts and cursor go back together.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -16000")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later fails at once when another process wrote
        # in between; one that says so at the start waits its turn.
        if connection.get_execution_options().get("alone"):
            return  # one statement is a transaction of its own
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
