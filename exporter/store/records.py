"""What rules of alerts ask about stored runs and jobs; every question is answered from an index."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.model.runs import JobRun, PipelineRun, Status
from exporter.store.rows import JOB_FIELDS, RUN_FIELDS, job_record, run_record
from exporter.store.statements import chunks
from exporter.store.tables import jobs, latest, runs, targets, unfinished, units

_RUN = tuple(runs.c[name] for name in RUN_FIELDS)
_JOB = tuple(jobs.c[name] for name in JOB_FIELDS)
_DECISIVE = (Status.SUCCESS.value, Status.FAILED.value)
_LOOK_AHEAD = 50  # of more newer runs of one ref than this, the newest say enough
_PAGES = (10, 490)  # what is looked for is mostly among the first
_GOING = (Status.CREATED.value, Status.PENDING.value, Status.RUNNING.value)


def _of_ref(*order: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The runs of a ref, on one side of one of them with *order*; made once: it costs more than asking."""
    return (
        sa.select(*_RUN)
        .where(
            runs.c.unit_id == sa.bindparam("unit"),
            *order,
            runs.c.ref == sa.bindparam("ref"),
            runs.c.ref_kind == sa.bindparam("kind"),
            runs.c.status.in_([sa.literal_column(f"'{status}'") for status in _DECISIVE]),
            sa.not_(runs.c.deleted),
            runs.c.pipeline == sa.bindparam("pipeline"),
            runs.c.finished_at <= sa.bindparam("until"),
        )
        .order_by(runs.c.created_at.desc(), runs.c.run_id.desc())
        .limit(sa.bindparam("limit"))
    )


def _amounts(amount: sa.Column[float]) -> sa.Select[Any]:
    return (
        sa.select(amount)
        .where(
            runs.c.unit_id == sa.bindparam("unit"),
            runs.c.status == sa.literal_column(f"'{Status.SUCCESS.value}'"),
            amount.is_not(None),
            sa.not_(runs.c.deleted),
            runs.c.pipeline == sa.bindparam("pipeline"),
            runs.c.created_at <= sa.bindparam("until"),
            runs.c.finished_at <= sa.bindparam("until"),
        )
        .order_by(runs.c.created_at.desc())
        .limit(sa.bindparam("limit"))
    )


def _active() -> sa.Select[Any]:
    # Ids first: for them alone SQLite uses the index that holds only the few unfinished runs.
    ids = (
        sa.select(runs.c.unit_id, runs.c.run_id)
        .join_from(units, runs)
        .where(units.c.active, units.c.caught_up, unfinished, runs.c.status.in_(_GOING))
        .subquery()
    )
    same = sa.and_(runs.c.unit_id == ids.c.unit_id, runs.c.run_id == ids.c.run_id)
    return (
        sa.select(runs.c.unit_id, *_RUN)
        .join_from(ids, runs, same)
        .where(sa.not_(runs.c.deleted), runs.c.created_at <= sa.bindparam("until"))
    )


_AT = sa.tuple_(runs.c.created_at, runs.c.run_id)
_CREATED: sa.BindParameter[Any] = sa.bindparam("created")
_THIS = sa.tuple_(_CREATED, sa.bindparam("run"), types=[runs.c.created_at.type, runs.c.run_id.type])
# The first condition is implied by the second, but can be looked up in every index.
_NEWEST = _of_ref()
_NEWER = _of_ref(runs.c.created_at >= _CREATED, _AT > _THIS)
_OLDER = _of_ref(runs.c.created_at <= _CREATED, _AT < _THIS)
_AMOUNTS = {column.name: _amounts(column) for column in (runs.c.duration_seconds, runs.c.queue_seconds)}
_ACTIVE = _active()
_ONE_RUN = sa.select(*_RUN).where(
    runs.c.unit_id == sa.bindparam("unit"), runs.c.run_id == sa.bindparam("run"), sa.not_(runs.c.deleted)
)
_JOBS = (
    sa.select(*_JOB)
    .where(jobs.c.unit_id == sa.bindparam("unit"), jobs.c.run_id.in_(sa.bindparam("runs", expanding=True)))
    .order_by(jobs.c.job_id)
)


@dataclass(frozen=True, slots=True)
class Project:
    """A unit, as messages name it."""

    unit_id: int
    target: str
    key: str
    name: str
    default_branch: str


class Records:
    """Stored runs and jobs, seen on one connection. ``until`` arguments leave out what ended later."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._active: list[tuple[int, PipelineRun]] | None = None

    # -- projects ------------------------------------------------------------------------------

    def project(self, target: str, key: str) -> Project | None:
        """The project *key* of *target*."""
        where = (targets.c.name == target, units.c.key == key)
        return next(self._projects(*where), None)

    def projects(self, unit_ids: Collection[int]) -> dict[int, Project]:
        """``unit id -> project`` of those of *unit_ids* that are watched."""
        found = {}
        for chunk in chunks(sorted(unit_ids)):
            found.update({one.unit_id: one for one in self._projects(units.c.id.in_(chunk), units.c.active)})
        return found

    def _projects(self, *where: Any) -> Iterator[Project]:
        rows = self._connection.execute(
            sa.select(
                units.c.id, targets.c.name.label("target"), units.c.key, units.c.name, units.c.default_branch
            )
            .join_from(units, targets)
            .where(*where)
        )
        return (Project(*row) for row in rows)

    # -- runs ----------------------------------------------------------------------------------

    def run(self, unit_id: int, run_id: int) -> PipelineRun | None:
        """The run, unless it is gone at the source."""
        row = self._connection.execute(_ONE_RUN, {"unit": unit_id, "run": run_id}).one_or_none()
        return run_record(row) if row else None

    def existing(self, unit_id: int, run_ids: Collection[int]) -> set[int]:
        """Those of *run_ids* that still exist at the source, as far as is known."""
        found: set[int] = set()
        for chunk in chunks(sorted(run_ids)):
            mine = (runs.c.unit_id == unit_id, runs.c.run_id.in_(chunk), sa.not_(runs.c.deleted))
            found.update(self._connection.execute(sa.select(runs.c.run_id).where(*mine)).scalars())
        return found

    def refs(self, unit_id: int) -> set[tuple[str, str]]:
        """``(kind, ref)`` of all refs that exist and have series of their own."""
        mine = latest.c.unit_id == unit_id
        rows = self._connection.execute(sa.select(latest.c.ref_kind, latest.c.ref).where(mine).distinct())
        return {(kind, ref) for kind, ref in rows}

    def newest(self, unit_id: int, pipeline: str, kind: str, ref: str, until: datetime) -> list[PipelineRun]:
        """The last runs of *ref* that succeeded or failed, newest first."""
        wanted = {"unit": unit_id, "pipeline": pipeline, "kind": kind, "ref": ref, "until": until}
        rows = self._connection.execute(_NEWEST, wanted | {"limit": _LOOK_AHEAD})
        return list(map(run_record, rows))

    def newer(self, unit_id: int, run: PipelineRun, until: datetime) -> list[PipelineRun]:
        """The runs of its ref after *run*, by creation, that succeeded or failed, newest first."""
        return self._of_ref(_NEWER, unit_id, run, until, _LOOK_AHEAD)

    def older(self, unit_id: int, run: PipelineRun, until: datetime) -> Iterator[PipelineRun]:
        """The last 500 runs of its ref before *run* that succeeded or failed, newest first."""
        for limit in _PAGES:
            page = self._of_ref(_OLDER, unit_id, run, until, limit)
            yield from page
            if len(page) < limit:
                return
            run = page[-1]

    def _of_ref(
        self, statement: sa.Select[Any], unit_id: int, run: PipelineRun, until: datetime, limit: int
    ) -> list[PipelineRun]:
        wanted = {
            "unit": unit_id,
            "created": run.created_at,
            "run": run.run_id,
            "ref": run.ref,
            "kind": run.ref_kind.value,
            "pipeline": run.pipeline,
            "until": until,
            "limit": limit,
        }
        return list(map(run_record, self._connection.execute(statement, wanted)))

    def active(self, until: datetime) -> list[tuple[int, PipelineRun]]:
        """``(unit id, run)`` of the runs created by *until* that wait or run, in watched projects."""
        if self._active is None:
            rows = self._connection.execute(_ACTIVE, {"until": until})
            self._active = [(row.unit_id, run_record(row)) for row in rows]
        return self._active

    def durations(self, unit_id: int, pipeline: str, column: str, until: datetime, limit: int) -> list[float]:
        """``duration_seconds`` or ``queue_seconds`` of the newest *limit* runs that succeeded."""
        wanted = {"unit": unit_id, "pipeline": pipeline, "until": until, "limit": limit}
        return list(self._connection.execute(_AMOUNTS[column], wanted).scalars())

    # -- jobs ----------------------------------------------------------------------------------

    def jobs(self, unit_id: int, run_ids: Collection[int]) -> list[JobRun]:
        """All jobs of the runs, retried ones included, in the order in which they were made."""
        found: list[JobRun] = []
        for chunk in chunks(sorted(run_ids)):
            rows = self._connection.execute(_JOBS, {"unit": unit_id, "runs": chunk})
            found += map(job_record, rows)
        return found

    # -- all that happened, to replay it ---------------------------------------------------------

    def ended(self, since: datetime, until: datetime, *statuses: Status) -> Iterator[tuple[int, PipelineRun]]:
        """``(unit id, run)`` of the runs that ended then, the first first; with *statuses*, those alone.

        They are those of watched projects whose history is read.
        """
        wanted = [runs.c.status.in_([status.value for status in statuses])] if statuses else []
        rows = self._connection.execute(
            sa.select(runs.c.unit_id, *_RUN)
            .join_from(runs, units)
            .where(
                runs.c.finished_at > since,
                runs.c.finished_at <= until,
                sa.not_(runs.c.deleted),
                units.c.active,
                units.c.caught_up,
                *wanted,
            )
            .order_by(runs.c.finished_at, runs.c.unit_id, runs.c.run_id)
        )
        return ((row.unit_id, run_record(row)) for row in rows)


def newest_attempts(found: Sequence[JobRun]) -> list[JobRun]:
    """Of jobs of the same run and name, the last; *found* is in the order in which they were made."""
    last = {(job.run_id, job.stage, job.name): job for job in found}
    return list(last.values())
