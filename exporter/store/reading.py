"""Reading views: everything a chunk of units exposes, in a fixed number of queries."""

from __future__ import annotations

import json
from collections import defaultdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.model.runs import JobRun, PipelineRun, Status
from exporter.model.views import ActiveRuns, Total, UnitView
from exporter.store.rows import job_record, run_record
from exporter.store.tables import jobs, latest, runs, totals, unfinished, units


def read_views(connection: Connection, unit_ids: list[int], *, job_state: bool) -> list[UnitView]:
    """The views of at most one chunk of units, in a fixed number of queries."""
    rows = connection.execute(
        sa.select(units).where(units.c.id.in_(unit_ids), units.c.active, units.c.caught_up)
    ).all()
    shown = [row.id for row in rows]
    newest = _newest_runs(connection, shown)
    active = _active_runs(connection, shown)
    totals_ = _totals(connection, shown)
    jobs_ = _jobs_of_newest(connection, shown) if job_state else {}
    return [
        UnitView(
            id=row.id,
            key=row.key,
            name=row.name,
            default_branch=row.default_branch,
            version=row.version,
            latest=tuple(newest[row.id]),
            active=tuple(active[row.id]),
            totals=tuple(totals_[row.id]),
            latest_jobs=jobs_.get(row.id, {}),
        )
        for row in sorted(rows, key=lambda row: row.id)
    ]


def _is_newest() -> sa.ColumnElement[bool]:
    return sa.and_(runs.c.unit_id == latest.c.unit_id, runs.c.run_id == latest.c.run_id)


def _newest_runs(connection: Connection, unit_ids: list[int]) -> dict[int, list[PipelineRun]]:
    """``unit id -> newest run of each ref``."""
    found: dict[int, list[PipelineRun]] = defaultdict(list)
    statement = sa.select(runs).join_from(latest, runs, _is_newest()).where(latest.c.unit_id.in_(unit_ids))
    for row in connection.execute(statement):
        found[row.unit_id].append(run_record(row))
    return found


def _active_runs(connection: Connection, unit_ids: list[int]) -> dict[int, list[ActiveRuns]]:
    """``unit id -> number and age of unfinished runs by status``."""
    found: dict[int, list[ActiveRuns]] = defaultdict(list)
    statement = (
        sa.select(
            runs.c.unit_id,
            runs.c.status,
            sa.func.count().label("runs"),
            sa.func.min(runs.c.created_at).label("oldest"),
        )
        .where(unfinished, sa.not_(runs.c.deleted), runs.c.unit_id.in_(unit_ids))
        .group_by(runs.c.unit_id, runs.c.status)
    )
    for row in connection.execute(statement):
        found[row.unit_id].append(ActiveRuns(Status(row.status), row.runs, row.oldest))
    return found


def _totals(connection: Connection, unit_ids: list[int]) -> dict[int, list[Total]]:
    """``unit id -> its counters and histograms``."""
    found: dict[int, list[Total]] = defaultdict(list)
    for row in connection.execute(sa.select(totals).where(totals.c.unit_id.in_(unit_ids))):
        buckets = None
        if row.buckets is not None:
            buckets = {float(bound): count for bound, count in json.loads(row.buckets).items()}
        found[row.unit_id].append(Total(row.family, tuple(json.loads(row.labels)), row.value, buckets))
    return found


def _jobs_of_newest(connection: Connection, unit_ids: list[int]) -> dict[int, dict[int, tuple[JobRun, ...]]]:
    """``unit id -> run id -> newest job of each name``, for the newest run of each ref."""
    found: dict[int, dict[int, dict[str, JobRun]]] = defaultdict(lambda: defaultdict(dict))
    statement = (
        sa.select(jobs)
        .join_from(
            latest, jobs, sa.and_(jobs.c.unit_id == latest.c.unit_id, jobs.c.run_id == latest.c.run_id)
        )
        .where(latest.c.unit_id.in_(unit_ids))
        .order_by(jobs.c.job_id)
    )
    for row in connection.execute(statement):
        found[row.unit_id][row.run_id][row.name] = job_record(row)
    return {
        unit_id: {run_id: tuple(by_name.values()) for run_id, by_name in by_run.items()}
        for unit_id, by_run in found.items()
    }
