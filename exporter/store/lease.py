"""The right to run rounds: held by one process per store, and free at once when that process dies."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from exporter.errors import StoreError
from exporter.store.deadline import NoAnswer

_ROUNDS_LOCK = 4_120_714  # any fixed number: PostgreSQL advisory lock of the process that polls
_SILENT = "the store does not answer; polling waits for it"


class LeaseUnknown(StoreError):
    """The store does not answer: whose the lease is will be known when it does."""


class Lease(Protocol):
    """The right of one process to poll; others stand by and follow what it saves.

    It spares the sources double the calls. Counting does not depend on it: saving is exact however many
    processes poll.
    """

    def acquire(self) -> bool:
        """Take the lease if it is free, or confirm that it is still ours.

        Raises:
            LeaseUnknown: nobody can be asked.
        """
        ...

    def release(self) -> None:
        """Give it back."""
        ...


class NoLease:
    """For a store that no other process can reach."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class FileLease:
    """A lock on a file beside the database; the kernel frees it with the process, however that ends."""

    def __init__(self, database: Path) -> None:
        # Two names of one database are one lease.
        database = database.resolve()
        self._path = database.with_name(database.name + ".lock")
        self._descriptor: int | None = None
        self._turn = threading.Lock()

    def acquire(self) -> bool:
        """Take the lease if it is free, or confirm that it is still ours.

        Raises:
            StoreError: the file beside the database cannot be made.
        """
        with self._turn:
            if self._descriptor is not None and not self._is_ours(self._descriptor):
                # Somebody deleted the file: another process may hold a new one by now.
                self._let_go()
            if self._descriptor is None:
                self._descriptor = self._try_lock()
            return self._descriptor is not None

    def _try_lock(self) -> int | None:
        """A descriptor that holds the lock, or ``None`` if another process does."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"store: {self._path} cannot be made ({error.strerror}); give this user write permission"
                " on it and its folder"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_ours(descriptor):
                return descriptor
        except BlockingIOError:
            pass
        os.close(descriptor)
        return None

    def _is_ours(self, descriptor: int) -> bool:
        """Whether the file that *descriptor* has open is still the one at the path."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give it back; the empty file stays, since deleting it would race with the next holder."""
        with self._turn:
            self._let_go()

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class AdvisoryLease:
    """A PostgreSQL session lock; the server frees it when the connection ends.

    *engine* is for it alone: neither work nor a deadline for work may hold up the question whose it is.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._turn = threading.Lock()

    def acquire(self) -> bool:
        """Take the lease if it is free, or confirm that it is still ours.

        Raises:
            LeaseUnknown: the server does not answer.
        """
        with self._turn:
            if self._connection is not None:
                try:
                    self._connection.exec_driver_sql("SELECT 1")
                except sa.exc.DBAPIError as error:
                    # The session is gone, and the lock with it: another process may poll by now.
                    self._let_go()
                    if isinstance(error.orig, NoAnswer):
                        # To connect would take even longer, and bring nothing.
                        raise LeaseUnknown(_SILENT) from error
                else:
                    return True
            try:
                return self._try_lock()
            except sa.exc.DBAPIError as error:
                raise LeaseUnknown(_SILENT) from error

    def _try_lock(self) -> bool:
        connection = self._engine.connect()
        try:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            locked = connection.execute(sa.select(sa.func.pg_try_advisory_lock(_ROUNDS_LOCK))).scalar()
        except BaseException:
            connection.close()
            raise
        if locked:
            self._connection = connection
        else:
            connection.close()
        return bool(locked)

    def release(self) -> None:
        """Give it back, and end the session that held it."""
        with self._turn:
            if self._connection is not None:
                # Said aloud, since the server notices the end of a session only a moment later.
                with suppress(sa.exc.DBAPIError):
                    self._connection.execute(sa.select(sa.func.pg_advisory_unlock(_ROUNDS_LOCK)))
            self._let_go()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
