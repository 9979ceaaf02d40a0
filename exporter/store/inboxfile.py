"""The inbox of an SQLite store: a file beside it, so that no hook waits for a round that saves."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from exporter.errors import StoreError
from exporter.store.connect import describe, sqlite_engine, store_errors
from exporter.store.tables import hooks, hooks_seen, metadata

_VERSION = 1
_LONG_LOG_BYTES = 256 * 1024 * 1024


class InboxFile:
    """The connections to the file at *path*, which is made if it is not there; in memory without one.

    A connection does not move its commits from the log into the file by itself: that waits for the disk, and
    with it everybody who waits for an acknowledgement. :meth:`tidy` does it, on the thread of whoever calls.
    As with the store, a power cut may take the last commits, and nothing else can.

    Raises:
        StoreError: the file cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None and not path.exists():
            _make_private(path)
        self._url = URL.create("sqlite", database=str(path) if path else ":memory:")
        self._engine = sqlite_engine(self._url)
        self._turn = threading.RLock()
        # In memory there is one connection for all threads.
        self._read_turn = nullcontext() if path else self._turn
        sa.event.listen(self._engine, "connect", _leave_the_log)
        try:
            with store_errors(self._url):
                self._prepare()
        except BaseException:
            self._engine.dispose()
            raise

    def _prepare(self) -> None:
        with self.write() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version not in (0, _VERSION):
                raise StoreError(
                    f"store {describe(self._url)} was written by a newer version of ci-exporter; upgrade, or"
                    " move the file away once that has read the hooks in it"
                )
            metadata.create_all(connection, [hooks, hooks_seen])
            connection.exec_driver_sql(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection whose statements see one state."""
        with store_errors(self._url), self._read_turn, self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block, or leaves no trace."""
        with (
            store_errors(self._url),
            self._turn,
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """A connection for one statement that writes.

        No other thread gets in between its begin and its commit, so that a process that is busy holds up
        nobody who acknowledges: of a transaction of several statements, each waits for Python's lock.
        """
        with (
            store_errors(self._url),
            self._turn,
            self._engine.connect().execution_options(alone=True) as connection,
        ):
            yield connection

    def tidy(self) -> None:
        """Move what is committed from the log into the file, beside those who go on adding.

        Only a log that they let grow long makes them wait for its end.
        """
        if self._path is None:
            return
        log = self._path.with_name(self._path.name + "-wal")
        mode = "RESTART" if log.exists() and log.stat().st_size > _LONG_LOG_BYTES else "PASSIVE"
        with store_errors(self._url):
            raw = self._engine.raw_connection()
            try:
                raw.cursor().execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
            finally:
                raw.close()

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()


def _make_private(path: Path) -> None:
    """Make the file so that others cannot read it: bodies of hooks may hold what is not for them."""
    # What cannot be made here, the database cannot open, and says so.
    with suppress(OSError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _leave_the_log(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
