"""Runs of query files that the database itself asks for, by NOTIFY."""

from __future__ import annotations

import logging
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from time import monotonic
from typing import Any, Final

import psycopg
from psycopg import sql

from collectors.postgres import errors
from collectors.postgres.database import Database
from collectors.postgres.errors import Unreachable
from collectors.postgres.plan import Job
from collectors.postgres.watch import Watch
from exporter.contract import Context

log = logging.getLogger(__name__)

_SLICE_SECONDS: Final = 0.3  # how long a thread that waits for notifications may not see that it is to end
_CLOSE_SECONDS: Final = 0.9
_SUBSCRIBE_SECONDS: Final = 10
_FIRST_RETRY: Final = 1.0
_LONGEST_RETRY: Final = 60.0
_MOST_BYTES: Final = 63

# A server that closes idle sessions would close this one, which is idle by nature; old ones cannot.
_STAY: Final = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"


class Listeners:
    """One thread with one connection for each database that has files which listen."""

    def __init__(self, jobs: Iterable[Job], databases: Mapping[str, Database], context: Context) -> None:
        by_database: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            if job.file.listen:
                by_database[job.database].append(job)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._started = False
        self._threads = [
            threading.Thread(
                target=_Listener(databases[name], found, context, self._closed).run,
                name=f"postgres-listen-{name}",
                daemon=True,
            )
            for name, found in by_database.items()
        ]

    def start(self) -> None:
        """Listen from now on; again and again, or once closed, does nothing."""
        with self._lock:
            if not self._started and not self._closed.is_set():
                self._started = True
                for thread in self._threads:
                    thread.start()

    def close(self) -> None:
        """Listen no more. A thread that is just connecting ends when that does, within its timeout."""
        with self._lock:
            self._closed.set()
            until = monotonic() + _CLOSE_SECONDS
            for thread in self._threads if self._started else ():
                thread.join(max(0.0, until - monotonic()))


class Bell:
    """Asks for runs of one job: at once, but not again within *debounce* seconds of the last time.

    What is asked for in between is made up for when they are over, so nothing is lost. Times are monotonic.
    """

    def __init__(self, wake: Callable[[], None], debounce: float) -> None:
        self.due: float | None = None
        self._wake = wake
        self._debounce = debounce
        self._last = float("-inf")

    def ring(self, now: float) -> None:
        """Somebody wants a run; :meth:`settle` asks for it."""
        if self.due is None:
            self.due = max(now, self._last + self._debounce)

    def settle(self, now: float) -> None:
        """Ask for the run that is due, if one is."""
        if self.due is not None and self.due <= now:
            self.due, self._last = None, now
            self._wake()


class _Listener:
    """Listens for all jobs of one database, and connects again whenever it has to."""

    def __init__(
        self, database: Database, jobs: list[Job], context: Context, closed: threading.Event
    ) -> None:
        self._database = database
        self._context = context
        self._closed = closed
        self._channels: dict[str, list[Bell]] = defaultdict(list)
        for job in jobs:
            bell = Bell(lambda key=job.key: context.wake(key), job.file.debounce)  # type: ignore[misc]
            self._channels[_as_the_server_says(job.file.listen or "")].append(bell)
        self._bells = [bell for bells in self._channels.values() for bell in bells]
        self._failing = False

    def run(self) -> None:
        """Until closed: listen, and after a failure wait ever longer before the next attempt."""
        wait = _FIRST_RETRY
        while not self._ended:
            began = monotonic()
            try:
                self._listen()
            except (Unreachable, psycopg.Error, OSError, ValueError) as error:  # the last: text that is none
                self._failed(error)
            except Exception:
                # A bug must not end the listening for good.
                log.exception("listening raised", extra=self._where)
            if monotonic() - began > _LONGEST_RETRY:
                wait = _FIRST_RETRY
            self._sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, not a secret
            wait = min(wait * 2, _LONGEST_RETRY)

    @property
    def _ended(self) -> bool:
        return self._closed.is_set() or self._context.stopping.is_set()

    @property
    def _where(self) -> dict[str, str]:
        return {"collector": "postgres", "database": self._database.name}

    def _sleep(self, seconds: float) -> None:
        until = monotonic() + seconds
        while not self._ended and monotonic() < until:
            self._settle()  # what was due when the connection broke
            self._closed.wait(min(_SLICE_SECONDS, max(0.0, until - monotonic())))

    def _listen(self) -> None:
        """Listen on one connection until the end.

        Raises:
            Unreachable: there is no connection, or the server does not let us listen.
            psycopg.Error: it was lost.
        """
        with closing(self._database.connect(purpose="listen")) as connection:
            if self._ended:
                return
            self._subscribe(connection)
            if self._failing:
                log.info("listening again", extra=self._where)
            self._failing = False
            # Nobody told us what happened before: since the connection broke, or since the first run began.
            for bell in self._bells:
                bell.ring(monotonic())
            while not self._ended:
                self._settle()
                for notification in connection.notifies(timeout=self._patience(), stop_after=1):
                    for bell in self._channels.get(notification.channel, ()):
                        bell.ring(monotonic())

    def _subscribe(self, connection: psycopg.Connection[Any]) -> None:
        try:
            # A server that hangs must hold up neither us nor our end.
            with Watch(connection, self._closed) as watch, watch.limit(_SUBSCRIBE_SECONDS):
                connection.execute(_STAY)
                for channel in self._channels:
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        except psycopg.Error as error:
            if watch.fired or errors.is_lost(error, connection):
                raise
            said = error.diag.message_primary or type(error).__name__  # of a replica, say
            raise Unreachable(f"database {self._database.name} does not let us listen: {said}") from None

    def _settle(self) -> None:
        for bell in self._bells:
            bell.settle(monotonic())

    def _patience(self) -> float:
        """How many seconds to wait for notifications before something else is to be done."""
        due = min((bell.due for bell in self._bells if bell.due is not None), default=float("inf"))
        return max(0.0, min(_SLICE_SECONDS, due - monotonic()))

    def _failed(self, error: Exception) -> None:
        """Say once why nothing is heard."""
        if self._failing or self._ended:
            return
        self._failing = True
        why = str(error)
        if not isinstance(error, Unreachable):
            why = errors.why_lost(self._database.name, error, ", listening")
        log.warning(
            "listening interrupted; files run at their intervals until it is possible again",
            extra={**self._where, "error": why},
        )


def _as_the_server_says(channel: str) -> str:
    """*channel* as it comes back: the server cuts names that are too long for it."""
    return channel.encode()[:_MOST_BYTES].decode(errors="ignore")
