"""Runs queries in one read-only transaction, all of which see the same state of the database."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from collectors.postgres import errors
from collectors.postgres.errors import ConnectionLost, QueryFailed
from collectors.postgres.spec import Query
from collectors.postgres.text import from_latin1
from collectors.postgres.watch import Watch
from exporter.errors import Stopped

GRACE_SECONDS: Final = 3
HOUSEKEEPING_SECONDS: Final = 10
CHUNK_ROWS: Final = 10_000
_NAME_BYTES: Final = 63
_UNFIT: Final = re.compile(r"[^ -~]|%")
_SELECTS: Final = ("select", "with", "values", "table")
_BLOCK_COMMENT: Final = re.compile(r"/\*|\*/")
_FIRST_WORD: Final = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|\Z))*([A-Za-z]*)")


@dataclass(frozen=True, slots=True)
class Column:
    """``oid`` is that of the type, as in ``pg_type``."""

    name: str
    oid: int


@dataclass(frozen=True, slots=True)
class Result:
    """``rows`` hold PostgreSQL's text for each of ``columns``, ``None`` for NULL; ``seconds`` it took.

    ``columns`` of a result without rows may be empty when the statement was no SELECT.
    """

    columns: tuple[Column, ...]
    rows: list[tuple[str | None, ...]]
    seconds: float


class _NoResult(Exception):
    """The statement returned nothing that could have rows."""


class Snapshot:
    """One transaction of one connection; for one thread, and only inside its ``with`` block."""

    def __init__(
        self,
        database: str,
        connection: psycopg.Connection[Any],
        watch: Watch,
        stopping: threading.Event,
        *,
        allowed: float,
        any_bytes: bool,
    ) -> None:
        self._database = database
        self._connection = connection
        self._watch = watch
        self._stopping = stopping
        self._allowed = allowed
        self._any_bytes = any_bytes
        self._over = False

    def run(self, query: Query, *, limit_rows: int | None = None) -> Result:
        """The rows of *query*, at most *limit_rows*.

        Raises:
            QueryFailed: this query failed; the next one can run.
            ConnectionLost: no further query can run in this snapshot.
            Stopped: the program is stopping.
        """
        if self._stopping.is_set():
            raise Stopped("the program is stopping")
        if self._over or self._watch.fired:
            raise ConnectionLost(errors.why_lost(self._database, None))
        began = monotonic()
        try:
            self._keep_house("SAVEPOINT query")
            began = monotonic()
            with self._watch.limit(self._allowed + GRACE_SECONDS):
                columns, rows = self._fetch(query, limit_rows)
            took = monotonic() - began
            if not self._watch.fired:
                self._keep_house("RELEASE SAVEPOINT query")
        except (psycopg.Error, OSError, _NoResult) as error:
            explained = self._explain(query, error, monotonic() - began)
        else:
            return Result(columns, rows, took)
        # Outside the handler: the server's own message, with values from rows, must not come along.
        raise explained

    def _fetch(self, query: Query, limit: int | None) -> tuple[tuple[Column, ...], list[Any]]:
        # As bytes it is sent as it is: UTF-8, whatever the connection's encoding.
        text = query.sql.encode()
        if query.simple:
            return self._fetch_first_result(text, query, limit)
        word = _first_word(query.sql)
        if not word:
            raise _NoResult
        if word in _SELECTS:
            return self._fetch_by_cursor(text, query, limit)
        with self._connection.cursor() as cursor:
            # What has no cursor on the server. Streaming always speaks the extended protocol, which binds
            # parameters and refuses several statements.
            rows = list(cursor.stream(text, query.parameters))
            return self._columns(cursor), rows if limit is None else rows[:limit]

    def _fetch_by_cursor(self, text: bytes, query: Query, limit: int | None) -> tuple[Any, list[Any]]:
        rows: list[Any] = []
        cursor = psycopg.ServerCursor(self._connection, _cursor_name(query))
        try:
            with cursor:
                cursor.execute(text, query.parameters)
                columns = self._columns(cursor)
                while limit is None or len(rows) < limit:
                    wanted = CHUNK_ROWS if limit is None else min(CHUNK_ROWS, limit - len(rows))
                    chunk = cursor.fetchmany(wanted)
                    rows += chunk
                    if len(chunk) < wanted:
                        break
        finally:
            # When the server cannot be told, it is still open here, and would complain.
            psycopg.Cursor.close(cursor)
        return columns, rows

    def _fetch_first_result(self, text: bytes, query: Query, limit: int | None) -> tuple[Any, list[Any]]:
        with self._connection.cursor() as cursor:
            cursor.execute(text, query.parameters)
            while cursor.description is None:
                if not cursor.nextset():
                    raise _NoResult
            return self._columns(cursor), cursor.fetchall() if limit is None else cursor.fetchmany(limit)

    def _columns(self, cursor: psycopg.Cursor[Any]) -> tuple[Column, ...]:
        return tuple(
            Column(from_latin1(column.name) if self._any_bytes else column.name, column.type_code)
            for column in cursor.description or ()
        )

    def _keep_house(self, statement: str) -> None:
        with self._watch.limit(HOUSEKEEPING_SECONDS):
            self._connection.execute(statement.encode())

    def _explain(self, query: Query, error: Exception, took: float) -> Exception:
        """What to raise for *error*; makes the transaction ready for the next query, or ends it."""
        doing = f", query {query.name}"
        lost = errors.is_lost(error, self._connection)
        if self._watch.fired == "stopping":
            return Stopped("the program is stopping")
        if self._watch.fired:
            if lost:
                return ConnectionLost(errors.no_answer(self._database, doing, took))
            return QueryFailed(errors.too_late(self._database, query, self._allowed))
        if lost:
            self._over = True
            return ConnectionLost(errors.why_lost(self._database, error, doing))
        ended = self._connection.info.transaction_status == TransactionStatus.IDLE
        try:
            self._keep_house("ROLLBACK TO SAVEPOINT query; RELEASE SAVEPOINT query")
        except (psycopg.Error, OSError):
            self._over = True
        if ended:
            return QueryFailed(errors.ended(self._database, query))
        # The driver's own words, which have no code, for a statement of another kind.
        no_result = "didn't produce a result" in str(error) or "COPY cannot be used" in str(error)
        if isinstance(error, psycopg.Error) and not (error.sqlstate is None and no_result):
            by_cursor = not query.simple and _first_word(query.sql) in _SELECTS
            offset = len(f"DECLARE {sql.Identifier(_cursor_name(query)).as_string()} CURSOR FOR ")
            return QueryFailed(
                errors.why_failed(
                    self._database, query, error, allowed=self._allowed, took=took, offset=offset * by_cursor
                )
            )
        return QueryFailed(errors.no_rows(self._database, query))


def _cursor_name(query: Query) -> str:
    """What the server's views show of a running query: ``FETCH … FROM "name"``; they cut longer names.

    The driver would take a per cent sign for a parameter, and cannot send every letter in LATIN1.
    """
    return _UNFIT.sub("_", query.name)[:_NAME_BYTES] or "query"


def _first_word(sql: str) -> str:
    """The first word of *sql* in lower case, behind comments and parentheses; empty if there is none."""
    at = 0
    while True:
        match = _FIRST_WORD.match(sql, at)
        if match is None or match[1] or not sql.startswith("/*", match.end()):
            return match[1].lower() if match else ""
        at, depth = match.end(), 0
        for mark in _BLOCK_COMMENT.finditer(sql, at):  # they nest
            depth += 1 if mark[0] == "/*" else -1
            at = mark.end()
            if depth == 0:
                break
        else:
            return ""
