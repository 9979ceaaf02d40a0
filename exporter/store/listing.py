"""Lists of runs in any order, page by page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.clock import EPOCH
from exporter.model.history import SortKey
from exporter.store.asking import COVERING, Conditions, Question
from exporter.store.measuring import count_at_most
from exporter.store.positions import Place
from exporter.store.statements import chunks
from exporter.store.tables import Instant, runs

_COLUMNS: dict[SortKey, sa.Column[Any]] = {
    SortKey.CREATED_AT: runs.c.created_at,
    SortKey.FINISHED_AT: runs.c.finished_at,
    SortKey.DURATION: runs.c.duration_seconds,
    SortKey.QUEUE_DURATION: runs.c.queue_seconds,
}
_MICROSECOND = timedelta(microseconds=1)
# Unit by unit: for a list of pairs, SQLite would go through the whole table.
_OF_UNIT = sa.select(runs).where(
    runs.c.unit_id == sa.bindparam("unit_id"), runs.c.run_id.in_(sa.bindparam("run_ids", expanding=True))
)
_FEW = 20_000  # runs that are sooner read and sorted than found among a million that are in order


def read_page(
    question: Question, sort: SortKey, descending: bool, limit: int, place: Place | None
) -> list[sa.Row[Any]]:
    """At most *limit* rows behind *place*: first those that have a value, in order, then the others."""
    column = _COLUMNS[sort]
    key = sa.type_coerce(column, sa.BigInteger) if isinstance(column.type, Instant) else column
    ids = [runs.c.unit_id, runs.c.run_id]
    conditions, hint = question.of_runs(), _hint(question, column)
    found: list[tuple[int, int]] = []
    if place is None or place.value is not None:
        behind: tuple[Any, ...] | None = (place.value, place.unit_id, place.run_id) if place else None
        part = _part([*conditions, column.is_not(None)], [key, *ids], descending, limit, behind, hint)
        found += [(row.unit_id, row.run_id) for row in question.connection.execute(part)]
        place = None
    if column.nullable and len(found) < limit:
        behind = (place.unit_id, place.run_id) if place else None
        rest = limit - len(found)
        part = _part([*conditions, column.is_(None)], ids, descending, rest, behind, hint)
        found += [(row.unit_id, row.run_id) for row in question.connection.execute(part)]
    return _whole(question.connection, found)


def _whole(connection: Connection, ids: Sequence[tuple[int, int]]) -> list[sa.Row[Any]]:
    """The rows of the runs with these (unit id, run id), in their order."""
    by_unit: dict[int, list[int]] = defaultdict(list)
    for unit_id, run_id in ids:
        by_unit[unit_id].append(run_id)
    rows = {
        (unit_id, row.run_id): row
        for unit_id, run_ids in by_unit.items()
        for chunk in chunks(run_ids)
        for row in connection.execute(_OF_UNIT, {"unit_id": unit_id, "run_ids": chunk})
    }
    return [rows[one] for one in ids]


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
    if wanted.refs or (question.narrows and count_at_most(question, _FEW) <= _FEW):
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
    """The runs in the order of *keys* from *behind* on: only ids, which the indexes hold."""
    found = sa.select(runs.c.unit_id, runs.c.run_id).where(*conditions).with_hint(runs, hint, "sqlite")
    if behind is not None:
        here, there = sa.tuple_(*keys), sa.tuple_(*behind)
        found = found.where(here < there if descending else here > there)
    return found.order_by(*(key.desc() if descending else key.asc() for key in keys)).limit(limit)
