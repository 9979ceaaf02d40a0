"""Keeping `periods` and `seasons`: a unit's runs of each sort in each fortnight, and in each four of them.

So no answer counts a million. They are written in the transaction of the runs themselves, under the unit's
lock: no reader sees one without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.clock import EPOCH
from exporter.store.statements import Upsert, chunks, made_once
from exporter.store.tables import periods, runs, seasons

WIDTH = timedelta(days=14)
SEASON = 4  # periods
_AMOUNTS = ("runs", "timed", "seconds", "queued", "queue_seconds")
_COUNTED = (
    runs.c.created_at,
    runs.c.status,
    runs.c.source,
    runs.c.ref_kind,
    runs.c.duration_seconds,
    runs.c.queue_seconds,
)
_Changes = dict[tuple[Any, ...], list[float]]


@dataclass(frozen=True)
class _Kept:
    """One of the two tables, with the statements that change it."""

    table: sa.Table
    add: Callable[[Connection], Upsert]

    @property
    def keys(self) -> list[str]:
        """What its rows tell apart, the unit aside."""
        return [column.name for column in self.table.primary_key.columns][1:]

    def write(
        self, connection: Connection, unit_id: int, changes: Mapping[tuple[Any, ...], list[float]]
    ) -> None:
        """Add *changes* to the rows of the unit; one without runs goes."""
        named = {key: dict(zip(self.keys, key, strict=True)) for key in sorted(changes) if any(changes[key])}
        if not named:
            return
        connection.execute(
            self.add(connection),
            [
                dict(unit_id=unit_id, **name, **dict(zip(_AMOUNTS, changes[key], strict=True)))
                for key, name in named.items()
            ],
        )
        fewer = [name for key, name in named.items() if changes[key][0] <= 0]
        if fewer:
            mine = [self.table.c[name] == sa.bindparam(f"b_{name}") for name in self.keys]
            connection.execute(
                sa.delete(self.table).where(self.table.c.unit_id == unit_id, *mine, self.table.c.runs == 0),
                [{f"b_{key}": value for key, value in name.items()} for name in fewer],
            )


def _kept(table: sa.Table) -> _Kept:
    def adding(statement: Upsert) -> Upsert:
        added = {name: table.c[name] + statement.excluded[name] for name in _AMOUNTS}
        return statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=added)

    return _Kept(table, made_once(adding, table))


_PERIODS, _SEASONS = _kept(periods), _kept(seasons)


class Counted(NamedTuple):
    """What of a run is in its period."""

    created_at: datetime
    status: str
    source: str
    ref_kind: str
    duration_seconds: float | None
    queue_seconds: float | None


def period_of(instant: datetime) -> int:
    """The number of the period in which *instant* is."""
    return (instant - EPOCH) // WIDTH


def start_of(period: int) -> datetime:
    """When the period begins."""
    return EPOCH + period * WIDTH


class Periods:
    """What one transaction changes in the periods and seasons of a unit, holding the unit's lock."""

    def __init__(self, connection: Connection, unit_id: int) -> None:
        self._connection = connection
        self._unit_id = unit_id
        self._changes: _Changes = {}

    def add(self, run: Counted, sign: int = 1) -> None:
        """Note that *run* is there from now on; no longer, if *sign* is -1."""
        key = (period_of(run.created_at), run.status, run.source, run.ref_kind)
        change = self._changes.setdefault(key, [0, 0, 0.0, 0, 0.0])
        change[0] += sign
        if run.duration_seconds is not None:
            change[1] += sign
            change[2] += sign * run.duration_seconds
        if run.queue_seconds is not None:
            change[3] += sign
            change[4] += sign * run.queue_seconds

    def replace(self, old: Counted | None, new: Counted | None) -> None:
        """Note that *new* is there instead of *old*; ``None`` is no run that anyone may see."""
        if old == new:
            return
        if old:
            self.add(old, -1)
        if new:
            self.add(new)

    def remove(self, run_ids: Iterable[int]) -> None:
        """Note that the stored runs *run_ids* will be gone; those that are hidden are in no period."""
        for chunk in chunks(set(run_ids)):
            rows = self._connection.execute(
                sa.select(*_COUNTED).where(
                    runs.c.unit_id == self._unit_id, runs.c.run_id.in_(chunk), sa.not_(runs.c.deleted)
                )
            )
            for row in rows:
                self.add(Counted(*row), -1)

    def write(self) -> None:
        """Change the stored rows as was noted."""
        changes, self._changes = self._changes, {}
        _PERIODS.write(self._connection, self._unit_id, changes)
        _SEASONS.write(self._connection, self._unit_id, _by_season(changes))


def _by_season(changes: _Changes) -> _Changes:
    """*changes* of periods as those of seasons."""
    found: _Changes = {}
    for (period, status, *_), change in changes.items():
        known = found.get((period // SEASON, status))
        found[period // SEASON, status] = (
            [sum(both) for both in zip(known, change, strict=True)] if known else change
        )
    return found
