"""Statements that every part of saving needs, alike in both dialects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

T = TypeVar("T")
S = TypeVar("S", bound=sa.Executable)
_CHUNK = 500  # bound parameters of one IN list; SQLite allows 32,766 in all


def chunks(items: Iterable[T], size: int = _CHUNK) -> Iterable[list[T]]:
    """*items* in lists of at most *size*."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


Upsert = postgresql.Insert | sqlite.Insert


def upsert(connection: Connection, table: sa.Table) -> Upsert:
    """An INSERT of this dialect that can say ON CONFLICT."""
    return _insert(connection.dialect.name, table)


def _insert(dialect: str, table: sa.Table) -> Upsert:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def made_once(make: Callable[[Upsert], S], table: sa.Table) -> Callable[[Connection], S]:
    """What *make* makes of an INSERT into *table*, made once for each dialect: to make one takes a while."""

    @cache
    def made(dialect: str) -> S:
        return make(_insert(dialect, table))

    return lambda connection: made(connection.dialect.name)


def replace_rows(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert *rows*, or overwrite those with the same primary key."""
    if not rows:
        return
    connection.execute(_replacing(connection.dialect.name, table), rows)


@cache
def _replacing(dialect: str, table: sa.Table) -> Upsert:
    statement = _insert(dialect, table)
    overwritten = {
        column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key
    }
    return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=overwritten)
