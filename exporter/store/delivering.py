"""Jobs in numbers, and how well changes are delivered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any, NamedTuple

import sqlalchemy as sa

from exporter.model.history import Dora, JobOrder, JobState, Wanted
from exporter.model.runs import Status
from exporter.store.asking import COVERING, Conditions, Question
from exporter.store.clean import storable
from exporter.store.globs import matches_one
from exporter.store.tables import jobs, runs

_DAY = timedelta(days=1)
# Before JOIN, the last word keeps SQLite from going through all jobs first and looking for the run of each.
_FIRST = f"{COVERING} CROSS"
_SAME_RUN = sa.and_(jobs.c.unit_id == runs.c.unit_id, jobs.c.run_id == runs.c.run_id)


def read_jobs(question: Question, order: JobOrder, limit: int) -> list[JobState]:
    """The jobs of the runs, the foremost first; equal ones by unit and age."""
    names = _by_name(question.of_runs()).subquery()
    failed, retried = sa.func.sum(names.c.failed), sa.func.sum(names.c.runs - 1)
    seconds = sa.cast(sa.func.sum(names.c.seconds), sa.Float)
    average = seconds / sa.func.nullif(sa.func.sum(names.c.timed), 0)
    foremost = {JobOrder.SLOWEST: average, JobOrder.FAILING: failed, JobOrder.RETRIED: retried}[order]
    rows = question.connection.execute(
        sa.select(
            names.c.unit_id,
            names.c.stage,
            names.c.name,
            sa.func.sum(names.c.runs).label("runs"),
            failed.label("failed"),
            retried.label("retried"),
            sa.func.sum(names.c.flaky).label("flaky"),
            average.label("average"),
            sa.func.max(names.c.longest).label("longest"),
        )
        .group_by(names.c.unit_id, names.c.stage, names.c.name)
        .order_by(foremost.desc().nulls_last(), names.c.unit_id, sa.func.min(names.c.first))
        .limit(limit)
    )
    return [
        JobState(
            provider=question.projects[row.unit_id].provider,
            project=question.projects[row.unit_id].name,
            stage=row.stage,
            name=row.name,
            runs=int(row.runs),
            failed=int(row.failed),
            retried=int(row.retried),
            flaky=int(row.flaky),
            avg_duration=row.average,
            max_duration=row.longest,
        )
        for row in rows
    ]


def _by_name(conditions: Conditions) -> sa.Select[Any]:
    """One row for all executions of a job in one run; it is flaky if one succeeded after one had failed."""
    first_failure = sa.func.min(sa.case((jobs.c.status == Status.FAILED.value, jobs.c.job_id)))
    last_success = sa.func.max(sa.case((jobs.c.status == Status.SUCCESS.value, jobs.c.job_id)))
    return (
        sa.select(
            jobs.c.unit_id,
            jobs.c.stage,
            jobs.c.name,
            sa.func.count().label("runs"),
            sa.func.count(sa.case((jobs.c.status == Status.FAILED.value, 1))).label("failed"),
            sa.case((first_failure < last_success, 1), else_=0).label("flaky"),
            sa.func.count(jobs.c.duration_seconds).label("timed"),
            sa.func.sum(jobs.c.duration_seconds).label("seconds"),
            sa.func.max(jobs.c.duration_seconds).label("longest"),
            sa.func.min(jobs.c.job_id).label("first"),
        )
        .join_from(runs, jobs, _SAME_RUN)
        .with_hint(runs, _FIRST, "sqlite")
        .with_hint(jobs, "INDEXED BY jobs_by_run", "sqlite")
        .where(*conditions)
        .group_by(jobs.c.unit_id, jobs.c.run_id, jobs.c.stage, jobs.c.name)
    )


class Deployment(NamedTuple):
    """One finished execution of a job that deploys."""

    job: tuple[int, str, str]  # unit, stage, name
    succeeded: bool
    finished_at: datetime
    run_created_at: datetime


def read_deployments(question: Question, globs: Sequence[str]) -> list[Deployment]:
    """All deployments of the runs, the first first."""
    if not globs:
        return []
    dialect = question.connection.dialect.name
    texts = [storable(glob) for glob in globs]
    rows = question.connection.execute(
        sa.select(
            jobs.c.unit_id, jobs.c.stage, jobs.c.name, jobs.c.status, jobs.c.finished_at, runs.c.created_at
        )
        .join_from(runs, jobs, _SAME_RUN)
        .with_hint(runs, _FIRST, "sqlite")
        .with_hint(jobs, "INDEXED BY jobs_by_run", "sqlite")
        .where(
            *question.of_runs(),
            sa.or_(matches_one(jobs.c.stage, texts, dialect), matches_one(jobs.c.name, texts, dialect)),
            jobs.c.status.in_([Status.SUCCESS.value, Status.FAILED.value]),
            jobs.c.finished_at.is_not(None),
        )
        .order_by(jobs.c.finished_at, jobs.c.job_id)
    )
    return [
        Deployment((unit_id, stage, name), status == Status.SUCCESS.value, finished_at, created_at)
        for unit_id, stage, name, status, finished_at, created_at in rows
    ]


def dora_of(deployments: Sequence[Deployment], wanted: Wanted) -> Dora:
    """The four measures of *deployments*, which are in the order of their ends."""
    failed = sum(not deployment.succeeded for deployment in deployments)
    days = _days(deployments, wanted)
    return Dora(
        days=days,
        deployments=len(deployments),
        failed_deployments=failed,
        deployments_per_day=len(deployments) / days if days else 0.0,
        lead_time_seconds=_median(
            deployment.finished_at - deployment.run_created_at
            for deployment in deployments
            if deployment.succeeded
        ),
        change_failure_rate=failed / len(deployments) if deployments else None,
        time_to_restore_seconds=_median(_restorations(deployments)),
    )


def _days(deployments: Sequence[Deployment], wanted: Wanted) -> float:
    """The time asked about; where that has no beginning or end, the first or last deployment's is its own.

    At least one day then: a single deployment would happen infinitely often.
    """
    if wanted.since is not None and wanted.until is not None:
        return max(0.0, (wanted.until - wanted.since) / _DAY)
    if not deployments:
        return 0.0
    since = wanted.since or deployments[0].finished_at
    until = wanted.until or deployments[-1].finished_at
    return max(1.0, (until - since) / _DAY)


def _restorations(deployments: Sequence[Deployment]) -> Iterable[timedelta]:
    """How long it took from each failed deployment to the next of the same job that succeeded."""
    broken: dict[tuple[int, str, str], list[datetime]] = {}
    for deployment in deployments:
        if deployment.succeeded:
            for failed_at in broken.pop(deployment.job, ()):
                yield deployment.finished_at - failed_at
        else:
            broken.setdefault(deployment.job, []).append(deployment.finished_at)


def _median(times: Iterable[timedelta]) -> float | None:
    """In seconds; clocks that disagree make no time negative."""
    seconds = [max(0.0, time.total_seconds()) for time in times]
    return median(seconds) if seconds else None
