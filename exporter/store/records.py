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
        mine = (runs.c.unit_id == unit_id, runs.c.run_id == run_id, sa.not_(runs.c.deleted))
        row = self._connection.execute(sa.select(*_RUN).where(*mine)).one_or_none()
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
        of_ref = self._decisive(unit_id, pipeline, kind, ref, until)
        return list(map(run_record, self._connection.execute(of_ref.limit(_LOOK_AHEAD))))

    def newer(self, unit_id: int, run: PipelineRun, until: datetime) -> list[PipelineRun]:
        """The runs of its ref after *run*, by creation, that succeeded or failed, newest first."""
        rows = self._connection.execute(self._of_ref(unit_id, run, until, newer=True).limit(_LOOK_AHEAD))
        return list(map(run_record, rows))

    def older(self, unit_id: int, run: PipelineRun, until: datetime, limit: int) -> list[PipelineRun]:
        """The *limit* runs of its ref before *run* that succeeded or failed, newest first."""
        rows = self._connection.execute(self._of_ref(unit_id, run, until, newer=False).limit(limit))
        return list(map(run_record, rows))

    def _of_ref(self, unit_id: int, run: PipelineRun, until: datetime, *, newer: bool) -> sa.Select[Any]:
        mine = sa.tuple_(runs.c.created_at, runs.c.run_id)
        created = sa.literal(run.created_at, runs.c.created_at.type)
        its = sa.tuple_(created, sa.literal(run.run_id))
        # The first condition is implied by the second, but can be looked up.
        bound = runs.c.created_at >= run.created_at if newer else runs.c.created_at <= run.created_at
        of_ref = self._decisive(unit_id, run.pipeline, run.ref_kind.value, run.ref, until)
        return of_ref.where(bound, mine > its if newer else mine < its)

    def _decisive(self, unit_id: int, pipeline: str, kind: str, ref: str, until: datetime) -> sa.Select[Any]:
        return (
            sa.select(*_RUN)
            .where(
                runs.c.unit_id == unit_id,
                runs.c.ref == ref,
                runs.c.ref_kind == kind,
                runs.c.status.in_(_DECISIVE),
                sa.not_(runs.c.deleted),
                runs.c.pipeline == pipeline,
                runs.c.finished_at <= until,
            )
            .order_by(runs.c.created_at.desc(), runs.c.run_id.desc())
        )

    def active(self, until: datetime) -> list[tuple[int, PipelineRun]]:
        """``(unit id, run)`` of the runs created by *until* that wait or run, in watched projects."""
        going = [Status.CREATED.value, Status.PENDING.value, Status.RUNNING.value]
        # Ids first: for them alone SQLite uses the index that holds only the few unfinished runs.
        ids = (
            sa.select(runs.c.unit_id, runs.c.run_id)
            .join_from(units, runs)
            .where(units.c.active, units.c.caught_up, unfinished, runs.c.status.in_(going))
            .subquery()
        )
        same = sa.and_(runs.c.unit_id == ids.c.unit_id, runs.c.run_id == ids.c.run_id)
        rows = self._connection.execute(
            sa.select(runs.c.unit_id, *_RUN)
            .join_from(ids, runs, same)
            .where(sa.not_(runs.c.deleted), runs.c.created_at <= until)
        )
        return [(row.unit_id, run_record(row)) for row in rows]

    def durations(self, unit_id: int, pipeline: str, column: str, until: datetime, limit: int) -> list[float]:
        """``duration_seconds`` or ``queue_seconds`` of the newest *limit* runs that succeeded."""
        amount = runs.c[column]
        rows = self._connection.execute(
            sa.select(amount)
            .where(
                runs.c.unit_id == unit_id,
                runs.c.status == Status.SUCCESS.value,
                amount.is_not(None),
                sa.not_(runs.c.deleted),
                runs.c.pipeline == pipeline,
                runs.c.created_at <= until,
                runs.c.finished_at <= until,
            )
            .order_by(runs.c.created_at.desc())
            .limit(limit)
        )
        return list(rows.scalars())

    # -- jobs ----------------------------------------------------------------------------------

    def jobs(self, unit_id: int, run_ids: Collection[int]) -> list[JobRun]:
        """All jobs of the runs, retried ones included, in the order in which they were made."""
        found: list[JobRun] = []
        for chunk in chunks(sorted(run_ids)):
            mine = (jobs.c.unit_id == unit_id, jobs.c.run_id.in_(chunk))
            rows = self._connection.execute(sa.select(*_JOB).where(*mine).order_by(jobs.c.job_id))
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
