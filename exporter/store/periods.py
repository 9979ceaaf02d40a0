"""Keeping `periods`: how many runs of each sort a unit had in each fortnight, so that none counts a million.

They are written in the transaction of the runs themselves, under the unit's lock: no reader sees one without
the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.clock import EPOCH
from exporter.store.statements import Upsert, chunks, made_once
from exporter.store.tables import periods, runs

WIDTH = timedelta(days=14)
_KEYS = ("period", "status", "source", "ref_kind")
_AMOUNTS = ("runs", "timed", "seconds", "queued", "queue_seconds")
_COUNTED = (
    runs.c.created_at,
    runs.c.status,
    runs.c.source,
    runs.c.ref_kind,
    runs.c.duration_seconds,
    runs.c.queue_seconds,
)


def _adding(statement: Upsert) -> Upsert:
    added = {name: periods.c[name] + statement.excluded[name] for name in _AMOUNTS}
    return statement.on_conflict_do_update(index_elements=list(periods.primary_key.columns), set_=added)


_ADD = made_once(_adding, periods)


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
    """What one transaction changes in the periods of one unit, on a connection that holds its lock."""

    def __init__(self, connection: Connection, unit_id: int) -> None:
        self._connection = connection
        self._unit_id = unit_id
        self._changes: dict[tuple[int, str, str, str], list[float]] = {}

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
        """Change the stored periods as was noted; one without runs goes."""
        changes = {key: change for key, change in sorted(self._changes.items()) if any(change)}
        self._changes = {}
        if not changes:
            return
        self._connection.execute(
            _ADD(self._connection),
            [
                dict(
                    unit_id=self._unit_id,
                    **dict(zip(_KEYS, key, strict=True)),
                    **dict(zip(_AMOUNTS, change, strict=True)),
                )
                for key, change in changes.items()
            ],
        )
        fewer = [key for key, change in changes.items() if change[0] <= 0]
        if fewer:
            mine = [periods.c[name] == sa.bindparam(f"b_{name}") for name in _KEYS]
            self._connection.execute(
                sa.delete(periods).where(periods.c.unit_id == self._unit_id, *mine, periods.c.runs == 0),
                [{f"b_{name}": value for name, value in zip(_KEYS, key, strict=True)} for key in fewer],
            )
