"""Lists of runs in any order, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from exporter.clock import EPOCH
from exporter.model.history import SortKey
from exporter.store.asking import Conditions, Question
from exporter.store.measuring import COVERING, count_at_most
from exporter.store.positions import Place
from exporter.store.tables import Instant, runs

_COLUMNS: dict[SortKey, sa.Column[Any]] = {
    SortKey.CREATED_AT: runs.c.created_at,
    SortKey.FINISHED_AT: runs.c.finished_at,
    SortKey.DURATION: runs.c.duration_seconds,
    SortKey.QUEUE_DURATION: runs.c.queue_seconds,
}
_MICROSECOND = timedelta(microseconds=1)
_FEW = 20_000  # runs that are sooner read and sorted than found among a million that are in order


def read_page(
    question: Question, sort: SortKey, descending: bool, limit: int, place: Place | None
) -> list[sa.Row[Any]]:
    """At most *limit* rows behind *place*: first those that have a value, in order, then the others."""
    column = _COLUMNS[sort]
    key = sa.type_coerce(column, sa.BigInteger) if isinstance(column.type, Instant) else column
    ids = [runs.c.unit_id, runs.c.run_id]
    conditions, hint = question.of_runs(), _hint(question, column)
    rows: list[sa.Row[Any]] = []
    if place is None or place.value is not None:
        behind: tuple[Any, ...] | None = (place.value, place.unit_id, place.run_id) if place else None
        part = _part([*conditions, column.is_not(None)], [key, *ids], descending, limit, behind, hint)
        rows += question.connection.execute(part)
        place = None
    if column.nullable and len(rows) < limit:
        behind = (place.unit_id, place.run_id) if place else None
        part = _part([*conditions, column.is_(None)], ids, descending, limit - len(rows), behind, hint)
        rows += question.connection.execute(part)
    return rows


def place_of(row: sa.Row[Any], sort: SortKey) -> Place:
    """Where the run in *row* is in the list of that order."""
    column = _COLUMNS[sort]
    value = getattr(row, column.name)
    if isinstance(column.type, Instant) and value is not None:
        value = (value - EPOCH) // _MICROSECOND
    return Place(value, row.unit_id, row.run_id)


def _hint(question: Question, column: sa.Column[Any]) -> str:
    """Which index SQLite is to use: that of the order; for few runs, or for certain refs, that of units."""
    wanted = question.wanted
    if wanted.refs or count_at_most(question) <= _FEW:
        return COVERING
    return f"INDEXED BY runs_by_{column.name}"


def _part(
    conditions: Conditions,
    keys: Sequence[sa.ColumnElement[Any]],
    descending: bool,
    limit: int,
    behind: tuple[Any, ...] | None,
    hint: str,
) -> sa.Select[Any]:
    """The rows in the order of *keys* from *behind* on; found by what indexes hold, then read whole."""
    found = sa.select(runs.c.unit_id, runs.c.run_id, keys[0].label("first")).where(*conditions)
    found = found.with_hint(runs, hint, "sqlite")
    if behind is not None:
        here, there = sa.tuple_(*keys), sa.tuple_(*behind)
        found = found.where(here < there if descending else here > there)
    ids = _ordered(found, keys, descending).limit(limit).subquery()
    whole = runs.alias()
    same = sa.and_(whole.c.unit_id == ids.c.unit_id, whole.c.run_id == ids.c.run_id)
    rows = sa.select(whole).join_from(ids, whole, same)
    return _ordered(rows, [ids.c.first, ids.c.unit_id, ids.c.run_id], descending)


def _ordered(rows: sa.Select[Any], keys: Sequence[sa.ColumnElement[Any]], descending: bool) -> sa.Select[Any]:
    return rows.order_by(*(key.desc() if descending else key.asc() for key in keys))
