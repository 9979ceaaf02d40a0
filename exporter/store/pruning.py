"""Deleting old runs with their jobs, a bounded number at a time, without anything counting again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.model.runs import FINISHED
from exporter.store.periods import Periods
from exporter.store.statements import chunks
from exporter.store.tables import jobs, latest, runs, units

PRUNE_ROWS = 2_000
"""Runs deleted in one transaction, so that rounds wait milliseconds for it."""


def prune_some(connection: Connection, unit: sa.Row[Any], before: datetime) -> int:
    """Delete at most :data:`PRUNE_ROWS` old runs of *unit*, whose row is locked; returns how many."""
    if unit.counts_from < before:
        connection.execute(sa.update(units).where(units.c.id == unit.id).values(counts_from=before))
    run_ids: Sequence[int] = connection.execute(_prunable(unit.id, before)).scalars().all()
    periods = Periods(connection, unit.id)
    periods.remove(run_ids)
    periods.write()
    for chunk in chunks(run_ids):
        for table in (jobs, runs):
            connection.execute(sa.delete(table).where(table.c.unit_id == unit.id, table.c.run_id.in_(chunk)))
    if run_ids:
        connection.execute(
            sa.update(units).where(units.c.id == unit.id).values(pruned=units.c.pruned + len(run_ids))
        )
    return len(run_ids)


def _prunable(unit_id: int, before: datetime) -> sa.Select[Any]:
    """The ids of the runs of a unit that may go: old in every respect, and not the newest of a ref.

    One of which anything finished later could count again: counting starts at *before* from now on.
    """
    newest = sa.select(latest.c.run_id).where(latest.c.unit_id == unit_id)
    later_job = sa.exists().where(
        jobs.c.unit_id == runs.c.unit_id, jobs.c.run_id == runs.c.run_id, jobs.c.finished_at >= before
    )
    return (
        sa.select(runs.c.run_id)
        .where(
            runs.c.unit_id == unit_id,
            runs.c.updated_at < before,
            sa.func.coalesce(runs.c.finished_at, runs.c.created_at) < before,
            sa.or_(runs.c.status.in_([status.value for status in FINISHED]), runs.c.deleted),
            runs.c.run_id.not_in(newest),
            sa.not_(later_job),
        )
        .limit(PRUNE_ROWS)
    )
