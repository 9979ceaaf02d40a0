"""Statements that every part of saving needs, alike in both dialects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

T = TypeVar("T")
_CHUNK = 500  # bound parameters of one IN list; SQLite allows 32,766 in all


def chunks(items: Iterable[T], size: int = _CHUNK) -> Iterable[list[T]]:
    """*items* in lists of at most *size*."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def upsert(connection: Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT of this dialect that can say ON CONFLICT."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def replace_rows(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert *rows*, or overwrite those with the same primary key."""
    if not rows:
        return
    statement = upsert(connection, table)
    overwritten = {
        column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key
    }
    keys = list(table.primary_key.columns)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=overwritten), rows)
