"""Ends calls to PostgreSQL that take too long, or that a stopping program no longer wants."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Literal, Self

import psycopg

_LOOK_SECONDS = 0.2
_CANCEL_SECONDS = 1


class Watch:
    """A thread that watches over one connection while the ``with`` block runs.

    When a call outlives its limit or *stopping* is set, the server is asked to cancel it; one second later
    the socket is shut down, which wakes the caller even when the server hangs. After that (``fired``) the
    connection must be closed: the cancellation may reach the server late, and hit what came next.
    """

    def __init__(self, connection: psycopg.Connection[Any], stopping: threading.Event) -> None:
        self.fired: Literal["late", "stopping"] | None = None
        self._connection = connection
        self._stopping = stopping
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._look, name="postgres-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """The calls in the block may take *seconds* together."""
        self._set(monotonic() + seconds)
        try:
            yield
        finally:
            self._set(None)

    def _set(self, deadline: float | None) -> None:
        with self._changed:
            self._deadline = deadline
            self._changed.notify()

    def _look(self) -> None:
        with self._changed:
            while not self._is_due():
                if self._ended:
                    return
                self._changed.wait(_LOOK_SECONDS)
        with suppress(psycopg.Error, OSError):
            self._connection.cancel_safe(timeout=_CANCEL_SECONDS)
        with self._changed:
            returned = self._changed.wait_for(lambda: self._deadline is None, _CANCEL_SECONDS)
            if not returned:
                # Under the lock: once the call has returned, the number may be that of another socket.
                self._hang_up()

    def _is_due(self) -> bool:
        if self._deadline is not None:
            if self._stopping.is_set():
                self.fired = "stopping"
            elif monotonic() > self._deadline:
                self.fired = "late"
        return self.fired is not None

    def _hang_up(self) -> None:
        with (
            suppress(psycopg.Error, OSError),
            socket.socket(fileno=os.dup(self._connection.fileno())) as wire,
        ):
            wire.shutdown(socket.SHUT_RDWR)
