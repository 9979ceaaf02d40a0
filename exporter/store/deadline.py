"""A deadline for PostgreSQL's answers: a frozen server takes all that is sent, and never answers.

The kernel goes on to acknowledge packets for a server that is stopped, or whose disk or VM hangs, so neither
keepalives nor tcp_user_timeout notice it.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa

_Result = TypeVar("_Result")
_Waiting = Generator[Any, Any, _Result]  # one of psycopg's: yields what it waits for, is sent what came

# The server looks this often whether we are still there, and drops what it does for nobody.
_WATCH_US = "SELECT set_config('client_connection_check_interval', '5s', false)"


_FRESH_SECONDS = 1.0  # after the server said something, a connection that is not hung up is not tried first


class NoAnswer(psycopg.OperationalError):
    """The server was silent for too long: the connection is closed.

    What it was last told may be done, now or when it wakes up: of a COMMIT, nobody knows.
    """


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is given up when the server is silent for ``patience`` seconds; ``None``: never.

    Silence counts, not work: a long answer that keeps coming is never cut.
    """

    patience: float | None = 30.0  # until it is told; connecting has a timeout of its own
    heard_at = float("-inf")  # when the server said something last

    def is_fresh(self) -> bool:
        """Whether the server surely was there a moment ago, and has not hung up since."""
        if self.closed or monotonic() - self.heard_at > _FRESH_SECONDS:
            return False
        look = select.poll()
        look.register(self.fileno(), select.POLLIN)
        return not look.poll(0)

    def wait(self, gen: _Waiting[_Result], *args: Any, **kwargs: Any) -> _Result:
        """Do what *gen* does; all talk with the server passes here.

        Raises:
            NoAnswer: the server said nothing for too long.
        """
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: _Waiting[_Result]) -> _Waiting[_Result]:
        """*gen*, resumed by psycopg at least every 0.1 s, with nothing (0) if nothing came."""
        heard = monotonic()
        try:
            wanted = next(gen)
            while True:
                came = yield wanted
                if came:
                    heard = self.heard_at = monotonic()
                elif self.patience is not None and monotonic() - heard >= self.patience:
                    self.close()
                    raise NoAnswer(
                        f"the server gave no answer for {self.patience:g} s. It may be frozen or overloaded,"
                        " or wait for a lock that somebody holds; look there"
                    )
                wanted = gen.send(came)
        except StopIteration as end:
            result: _Result = end.value
            return result


def connector(patience: float) -> Callable[..., BoundedConnection]:
    """How an engine connects (its event ``do_connect``), each connection with *patience* seconds."""

    def connect(_dialect: Any, _record: Any, arguments: Any, parameters: Any) -> BoundedConnection:
        connection = BoundedConnection.connect(*arguments, **parameters)
        connection.patience = patience
        # Else a statement that waits for a lock would go on after we gave up, and its retries pile up.
        # PostgreSQL before 14 does not know the setting, and some systems do not offer it.
        connection.autocommit = True
        with suppress(psycopg.errors.UndefinedObject, psycopg.errors.InvalidParameterValue):
            connection.execute(_WATCH_US)
        connection.autocommit = False
        return connection

    return connect


@contextmanager
def without_deadline(connection: sa.Connection) -> Iterator[None]:
    """For statements that may take any time; no difference on SQLite."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, BoundedConnection):
        yield
        return
    before, driver.patience = driver.patience, None
    try:
        yield
    finally:
        driver.patience = before
