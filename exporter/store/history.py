"""What people ask about the runs that are kept, answered from SQLite or PostgreSQL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.clock import EPOCH
from exporter.model.history import (
    Dora,
    JobOrder,
    JobState,
    ProjectState,
    RunPage,
    ShownRun,
    SortKey,
    Step,
    Summary,
    Wanted,
)
from exporter.model.runs import JobRun, PipelineRun, RefKind
from exporter.store.asking import Project, Question, chosen, of_units, shown_projects
from exporter.store.clean import known_ids, storable
from exporter.store.delivering import dora_of, read_deployments, read_jobs
from exporter.store.listing import place_of, read_page
from exporter.store.measuring import Numbers, measure, measure_fast
from exporter.store.positions import read_position, write_position
from exporter.store.rows import job_record, run_record
from exporter.store.tables import jobs, latest, runs, units

_MICROSECOND = timedelta(microseconds=1)
_MOST_STEPS = 20_000


class SqlHistory:
    """Implements :class:`exporter.model.history.History`; every answer is one transaction that reads.

    ``providers`` tells at any time ``target -> provider`` of what is configured: nothing else is shown.
    """

    def __init__(
        self,
        ask: Callable[[], AbstractContextManager[Connection]],
        providers: Callable[[], Mapping[str, str]],
    ) -> None:
        self._ask = ask
        self._providers = providers

    def version(self) -> str:
        """A text that is another one whenever any answer may be."""
        with self._ask() as connection:
            return hashlib.blake2b(repr(self._shown(connection)).encode(), digest_size=16).hexdigest()

    def runs(
        self,
        wanted: Wanted,
        *,
        sort: SortKey = SortKey.CREATED_AT,
        descending: bool = True,
        limit: int = 100,
        after: str | None = None,
    ) -> RunPage:
        """At most *limit* runs behind position *after*.

        Raises:
            BadPosition: *after* is no position in this list.
        """
        place = None if after is None else read_position(after, sort, descending)
        with self._ask() as connection:
            projects = chosen(self._shown(connection), wanted)
            rows = read_page(Question(connection, wanted, projects), sort, descending, limit + 1, place)
        shown = tuple(_shown_run(projects[row.unit_id], row) for row in rows[:limit])
        if len(rows) <= limit or not shown:
            return RunPage(shown)
        return RunPage(shown, write_position(sort, descending, place_of(rows[limit - 1], sort)))

    def run(self, provider: str, project: str, run_id: int) -> tuple[ShownRun, Sequence[JobRun]] | None:
        """One run and its jobs in the order of their ids; ``None`` if there is none."""
        with self._ask() as connection:
            named = {
                one.id: one
                for one in self._shown(connection).values()
                if one.provider == provider and one.name == storable(project, 1000)
            }
            if not known_ids([run_id]):
                return None
            row = connection.execute(
                sa.select(runs)
                .where(of_units(runs.c.unit_id, named), runs.c.run_id == run_id, sa.not_(runs.c.deleted))
                .order_by(runs.c.unit_id)
                .limit(1)
            ).one_or_none()
            if row is None:
                return None
            found = connection.execute(
                sa.select(jobs)
                .where(jobs.c.unit_id == row.unit_id, jobs.c.run_id == run_id)
                .order_by(jobs.c.job_id)
            )
            return _shown_run(named[row.unit_id], row), [job_record(job) for job in found]

    def summary(self, wanted: Wanted) -> Summary:
        """All runs in numbers."""
        with self._ask() as connection:
            projects = chosen(self._shown(connection), wanted)
            return measure_fast(Question(connection, wanted, projects)).get(0, Numbers()).summary()

    def timeseries(self, wanted: Wanted, step_seconds: int) -> Sequence[Step]:
        """Every step from ``since`` to ``until`` (both must be given), also those without runs, in order.

        Raises:
            ValueError: one is not given, or there are too many steps.
        """
        if wanted.since is None or wanted.until is None:
            raise ValueError("a time series needs its beginning and end")
        step = timedelta(seconds=step_seconds)
        count = max(0, -((wanted.since - wanted.until) // step))
        if count > _MOST_STEPS:
            raise ValueError(f"these are {count} steps; at most {_MOST_STEPS} can be told")
        begin = (wanted.since - EPOCH) // _MICROSECOND
        created = sa.type_coerce(runs.c.created_at, sa.BigInteger)
        number = (created - sa.literal_column(str(begin))) // sa.literal_column(str(step // _MICROSECOND))
        with self._ask() as connection:
            projects = chosen(self._shown(connection), wanted)
            found = measure(Question(connection, wanted, projects), number)
        return [
            Step(wanted.since + index * step, found.get(index, Numbers()).summary()) for index in range(count)
        ]

    def projects(self, wanted: Wanted) -> Sequence[ProjectState]:
        """All projects that match, also those without runs in the time asked about, by name."""
        with self._ask() as connection:
            projects = chosen(self._shown(connection), wanted)
            found = measure_fast(Question(connection, wanted, projects), by_unit=True)
            newest = _newest_of_default_branches(connection, projects)
        return [
            ProjectState(
                provider=project.provider,
                project=project.name,
                default_branch=project.default_branch,
                summary=found.get(project.id, Numbers()).summary(),
                newest=newest.get(project.id),
            )
            for project in sorted(projects.values(), key=lambda one: (one.name, one.provider, one.id))
        ]

    def jobs(self, wanted: Wanted, order: JobOrder, limit: int) -> Sequence[JobState]:
        """The jobs of the runs, the foremost first."""
        with self._ask() as connection:
            projects = chosen(self._shown(connection), wanted)
            return read_jobs(Question(connection, wanted, projects), order, limit)

    def dora(self, wanted: Wanted, deployments: Sequence[str]) -> Dora:
        """How well changes are delivered; *deployments* are globs of stages and names of jobs that deploy."""
        with self._ask() as connection:
            projects = chosen(self._shown(connection), wanted)
            of_default = replace(wanted, default_branch_only=True)
            return dora_of(read_deployments(Question(connection, of_default, projects), deployments), wanted)

    def _shown(self, connection: Connection) -> dict[int, Project]:
        return shown_projects(connection, self._providers())


def _shown_run(project: Project, row: sa.Row[Any]) -> ShownRun:
    default = row.ref_kind == RefKind.BRANCH.value and row.ref == project.default_branch
    return ShownRun(project.provider, project.name, default, run_record(row))


def _newest_of_default_branches(connection: Connection, unit_ids: Collection[int]) -> dict[int, PipelineRun]:
    """``unit id -> newest run of its default branch``, whatever its pipeline and source."""
    newest = (
        sa.select(latest.c.unit_id, sa.func.max(latest.c.run_id).label("run_id"))
        .join_from(latest, units, latest.c.unit_id == units.c.id)
        .where(
            of_units(latest.c.unit_id, unit_ids),
            latest.c.ref_kind == RefKind.BRANCH.value,
            latest.c.ref == units.c.default_branch,
        )
        .group_by(latest.c.unit_id)
        .subquery()
    )
    rows = connection.execute(
        sa.select(runs)
        .join_from(
            newest, runs, sa.and_(runs.c.unit_id == newest.c.unit_id, runs.c.run_id == newest.c.run_id)
        )
        .where(sa.not_(runs.c.deleted))
    )
    return {row.unit_id: run_record(row) for row in rows}
