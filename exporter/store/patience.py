"""An end to questions that take too long, so that no database and no thread works on them for ever."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.errors import QuestionTooLong

_STEPS = 20_000  # of SQLite's machine between two looks at the clock: well below a millisecond


@contextmanager
def patience(connection: Connection, seconds: float) -> Iterator[None]:
    """Give up what is asked on *connection* after *seconds*; on PostgreSQL, those are for each statement.

    Raises:
        QuestionTooLong: it was given up.
    """
    driver = connection.connection.driver_connection
    try:
        if isinstance(driver, sqlite3.Connection):
            end = monotonic() + seconds
            driver.set_progress_handler(lambda: monotonic() >= end, _STEPS)
            try:
                yield
            finally:
                driver.set_progress_handler(None, 0)
        else:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, round(seconds * 1000))}")
            yield
    except sa.exc.DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.QueryCanceled) or str(error.orig) == "interrupted":
            raise QuestionTooLong(
                f"the answer takes longer than {seconds:g} s; ask about a shorter time or fewer projects"
            ) from error
        raise


@contextmanager
def one_of(places: threading.Semaphore, seconds: float) -> Iterator[None]:
    """Wait for one of the *places* and hold it: crowds of questions must leave connections to those who save.

    Raises:
        QuestionTooLong: none was free for *seconds*.
    """
    if not places.acquire(timeout=seconds):
        raise QuestionTooLong(f"too many questions are asked at once: none was answered in {seconds:g} s")
    try:
        yield
    finally:
        places.release()
