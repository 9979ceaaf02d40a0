"""One database: a pool of connections, and snapshots to run queries in."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Self
from zoneinfo import available_timezones

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from collectors.postgres import errors
from collectors.postgres.dsn import connection_parameters, seconds_in, settings_in
from collectors.postgres.errors import Unreachable
from collectors.postgres.settings import MOST_CONNECTIONS, DatabaseSettings
from collectors.postgres.snapshot import HOUSEKEEPING_SECONDS, Snapshot
from collectors.postgres.text import as_text, take_any_bytes
from collectors.postgres.watch import Watch
from exporter.config.files import Unreadable
from exporter.config.secrets import read_secret
from exporter.errors import Stopped

_SLICE_SECONDS: Final = 0.1
_SLACK_SECONDS: Final = 2
_IDLE_SECONDS: Final = 60
CLOSE_SECONDS: Final = 0.5

# How values look is ours to say, since we read them; a role or database may have other defaults.
_FORMATS: Final = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    # All rows are fetched, so the planner must not favour the first ones, as it does for cursors.
    "cursor_tuple_fraction": "1.0",
}


@dataclass(frozen=True, slots=True)
class _Failure:
    """Connecting that began at ``began`` failed; ``full`` when the server takes no more connections."""

    began: float
    sentence: str
    full: bool


@dataclass(slots=True)
class _Door:
    """Tells those who wait for a connection why there is none, which the pool only logs.

    ``waiting`` is their number. The pool would replace each broken connection at once, also when the program
    is stopping: nobody goes through the door unless someone waits. ``newest`` gives the connection's
    parameters as they are now.
    """

    database: str
    newest: Callable[[], Mapping[str, str]]
    last: _Failure | None = None
    waiting: int = 0


class _Connection(psycopg.Connection[TupleRow]):
    """``used``: it has worked before, so when it is found broken, another one may do."""

    used = False
    any_bytes = False

    @classmethod
    def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        door: _Door = kwargs.pop("door")
        if not door.waiting:
            raise psycopg.OperationalError("no connection is wanted")
        began = monotonic()
        kwargs = {**door.newest(), **kwargs}
        try:
            found = super().connect(conninfo, **kwargs)
        except (psycopg.Error, OSError) as error:
            why = errors.why_unreachable(door.database, error, kwargs.get("password"))
            door.last = _Failure(began, why, errors.is_full(error))
            raise
        found.any_bytes = found.info.parameter_status("server_encoding") == "SQL_ASCII"
        if found.any_bytes:
            take_any_bytes(found.adapters)
        return found


class Database:
    """The database *name*; making one does not connect. Thread-safe.

    *application_name* is what the server's views show, *zone* the time zone of its sessions; what the DSN
    says of either wins. *stopping* ends whatever runs. ``zone`` is the one in which times without any are.

    Raises:
        ValueError: the DSN cannot be read; the message holds no part of it.
    """

    def __init__(
        self,
        name: str,
        settings: DatabaseSettings,
        *,
        application_name: str,
        zone: str,
        stopping: threading.Event,
    ) -> None:
        dsn = settings.dsn.get_secret_value() if settings.dsn is not None else ""
        self.name = name
        self._settings = settings
        self._application_name = application_name
        self._parameters = parameters = self._parameters_of(dsn)
        self._stopping = stopping
        self._in_dsn = settings_in(dsn)
        self.zone = _spelt_zone(self._in_dsn.get("timezone", zone))
        self._connect_seconds = float(parameters["connect_timeout"])
        self._max = settings.connections_for(MOST_CONNECTIONS)
        self._door = _Door(name, self._newest_parameters)
        self._lock = threading.Lock()
        self._lent = 0
        self._closed = False
        # Its log would repeat what we say, once for each attempt.
        for logger in ("psycopg", "psycopg.pool"):
            logging.getLogger(logger).setLevel(logging.ERROR)
        self._pool: ConnectionPool[_Connection] = ConnectionPool(
            connection_class=_Connection,
            # Nothing is ever prepared: a prepared `SELECT *` would fail for ever after an ALTER TABLE, and
            # pgbouncer may give every transaction another connection.
            kwargs={
                "autocommit": True, "prepare_threshold": None, "context": as_text(),
                "door": self._door,
            },
            min_size=0, max_size=self._max, open=False, name=f"postgres-{name}", num_workers=1,
            # Whoever wants a connection makes the next attempt; the pool makes none of its own.
            reconnect_timeout=0,
        )  # fmt: skip

    def _parameters_of(self, dsn: str) -> dict[str, str]:
        return connection_parameters(
            dsn,
            self._settings.tls,
            application_name=self._application_name,
            connect_timeout=self._settings.connect_timeout,
        )

    def _newest_parameters(self) -> dict[str, str]:
        """Those of the DSN as its file has it now: a password that was changed needs no reload."""
        file = self._settings.dsn_file
        if file is not None:
            # While it is being written, or if it is no DSN, the last one goes on.
            with suppress(Unreadable, ValueError):
                self._parameters = self._parameters_of(read_secret(file))
        return self._parameters

    @contextmanager
    def snapshot(self, *, statement_timeout: float, discard: bool = False) -> Iterator[Snapshot]:
        """A transaction for queries of up to *statement_timeout* seconds each, unless the DSN says otherwise.

        *discard* rolls it back in the end, so that not even a notification or a setting outlives it.

        Raises:
            Unreachable: there is no connection; the text says why.
            Stopped: the program is stopping.
        """
        allowed = seconds_in(self._in_dsn.get("statement_timeout")) or statement_timeout
        deadline = monotonic() + self._connect_seconds + _SLACK_SECONDS
        while True:
            with self._borrow(deadline, discard=discard) as (connection, watch):
                try:
                    # Also shows whether the connection still works; in the pool it may have died.
                    with watch.limit(self._connect_seconds):
                        connection.execute(self._begin(allowed, connection.any_bytes))
                except (psycopg.Error, OSError) as error:
                    if watch.fired == "stopping":
                        stopped = True
                    elif connection.used and errors.is_lost(error, connection) and not watch.fired:
                        continue
                    else:
                        stopped = False
                        why = errors.why_unreachable(self.name, error, None)
                        if watch.fired:
                            why = errors.no_answer(self.name, "", self._connect_seconds)
                else:
                    connection.used = True
                    yield Snapshot(
                        self.name, connection, watch, self._stopping,
                        allowed=allowed, any_bytes=connection.any_bytes,
                    )  # fmt: skip
                    return
            # Outside the handler, so that the server's own message does not come along.
            raise Stopped("the program is stopping") if stopped else Unreachable(why)

    def connect(self, *, purpose: str) -> psycopg.Connection[TupleRow]:
        """A connection beside the pool, in autocommit mode; it is the caller's to close.

        *purpose* is added to its application_name.

        Raises:
            Unreachable: there is none; the text says why.
        """
        name = f"{self._parameters['application_name']} ({purpose})"
        door = _Door(self.name, self._newest_parameters, waiting=1)
        try:
            return _Connection.connect(application_name=name, autocommit=True, door=door)
        except (psycopg.Error, OSError):
            failure = door.last
        # Outside the handler, so that the server's own message does not come along.
        raise Unreachable(failure.sentence if failure else f"database {self.name} cannot be reached")

    def close(self, wait: float = CLOSE_SECONDS) -> None:
        """Close the connections, at once or when their snapshot ends; no further snapshot begins.

        The pool's thread may be connecting to a server that hangs: it has *wait* seconds to end, and else
        ends by itself at connect_timeout.
        """
        with self._lock:
            self._closed = True
        self._pool.close(timeout=wait)

    @contextmanager
    def _borrow(self, deadline: float, *, discard: bool) -> Iterator[tuple[_Connection, Watch]]:
        """A connection under watch; afterwards it is idle again, or closed."""
        connection = self._take(deadline)
        with self._lock:
            self._lent += 1
        watch = Watch(connection, self._stopping)
        try:
            with watch:
                try:
                    yield connection, watch
                finally:
                    self._end(connection, watch, discard=discard)
        finally:
            if connection.pgconn.transaction_status != TransactionStatus.IDLE or watch.fired:
                connection.close()
            with self._lock:
                self._lent -= 1
            self._pool.putconn(connection)

    def _end(self, connection: _Connection, watch: Watch, *, discard: bool) -> None:
        """End the transaction. It only read, so a commit may fail, and is no rollback in statistics."""
        if watch.fired or connection.closed:
            return
        with suppress(psycopg.Error, OSError), watch.limit(HOUSEKEEPING_SECONDS):
            connection.execute("ROLLBACK" if discard else "COMMIT")

    def _take(self, deadline: float) -> _Connection:
        """A connection from the pool, which connects in a thread of its own."""
        began = monotonic()
        with self._lock:
            if not self._closed:
                self._pool.open()
            self._door.waiting += 1
        try:
            while True:
                if self._closed or self._stopping.is_set():
                    raise Stopped("the program is stopping")
                with suppress(PoolTimeout):
                    return self._pool.getconn(timeout=_SLICE_SECONDS)
                self._give_up(began, late=monotonic() > deadline)
        except PoolClosed:
            raise Stopped("the program is stopping") from None
        finally:
            with self._lock:
                self._door.waiting -= 1

    def _give_up(self, began: float, *, late: bool) -> None:
        """Raise the reason why there is no connection, if waiting for one is over."""
        failure = self._door.last
        if failure is not None and failure.began >= began and (late or not (failure.full and self._lent)):
            raise Unreachable(failure.sentence)
        if late and self._lent >= self._max:
            raise Unreachable(
                f"database {self.name}: all {self._max} connections are busy; raise max_connections, or let "
                "fewer files run at once"
            )
        if late:
            raise Unreachable(f"database {self.name} cannot be reached: connecting takes too long")

    def _begin(self, allowed: float, any_bytes: bool) -> bytes:
        """The start of a transaction, with settings that end with it."""
        milliseconds = max(1, round(allowed * 1000))
        local = {
            "TimeZone": self.zone,
            "statement_timeout": str(milliseconds),
            "lock_timeout": str(max(1, milliseconds * 9 // 10)),
            "idle_in_transaction_session_timeout": str(_IDLE_SECONDS * 1000),
        }
        local = {key: value for key, value in local.items() if key.lower() not in self._in_dsn} | _FORMATS
        if any_bytes:
            local["client_encoding"] = "LATIN1"
        statements = ["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"]
        statements += [f"SET LOCAL {key} = {sql.quote(value)}" for key, value in local.items()]
        return "; ".join(statements).encode()


def _spelt_zone(name: str) -> str:
    """*name* as the time zone database spells it; as it is if that has no such zone, but the server may."""
    return next((zone for zone in available_timezones() if zone.lower() == name.lower()), name)
