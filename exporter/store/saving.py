"""Saving one batch: newer state over older, every new execution into the totals, one transaction."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from exporter.contract import Batch
from exporter.counting import (
    Increment,
    executions,
    job_increments,
    new_execution,
    retry_increment,
    run_increments,
)
from exporter.families import Family
from exporter.model.runs import JobRun, PipelineRun
from exporter.store.base import Saved
from exporter.store.rows import job_record, job_row, run_record, run_row
from exporter.store.tables import jobs, latest, runs, totals, units

T = TypeVar("T")
R = TypeVar("R", PipelineRun, JobRun)
_CHUNK = 500  # bound parameters of one IN list; SQLite allows 32,766 in all


def chunks(items: Iterable[T], size: int = _CHUNK) -> Iterable[list[T]]:
    """*items* in lists of at most *size*."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def upsert(connection: Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT of this dialect that can say ON CONFLICT."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def replace_rows(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert *rows*, or overwrite those with the same primary key."""
    if not rows:
        return
    statement = upsert(connection, table)
    overwritten = {
        column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key
    }
    keys = list(table.primary_key.columns)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=overwritten), rows)


@dataclass(slots=True)
class _Stored(Generic[R]):
    """A record as stored or about to be, with the stamp of its last recorded execution."""

    record: R
    stamp: int | None


@dataclass(slots=True)
class _Tally:
    """What is to be added to one total."""

    value: float = 0.0
    buckets: dict[float, int] = field(default_factory=dict)


class Saver:
    """Saves one batch of one unit on a connection that holds the unit's lock."""

    def __init__(self, connection: Connection, unit_id: int, counts_from: datetime) -> None:
        self._connection = connection
        self._unit_id = unit_id
        self._counts_from = counts_from
        self._added: dict[tuple[Family, tuple[str, ...]], _Tally] = {}

    def save(self, batch: Batch) -> Saved:
        """Write the records and what they add to totals; the unit's own row is the caller's."""
        changed_runs, counted_runs = self._save_runs(batch.runs)
        changed_jobs, counted_jobs = self._save_jobs(batch.jobs)
        removed = self._delete_runs(batch.deleted_runs) + self._forget_refs(batch)
        self._write_totals()
        return Saved(changed_runs + changed_jobs + removed, counted_runs, counted_jobs)

    def _save_runs(self, incoming: Sequence[PipelineRun]) -> tuple[int, int]:
        """Merge *incoming* into the stored runs; returns (changed rows, executions counted)."""
        stored = {
            row.run_id: _Stored(run_record(row), row.stamp)
            for chunk in chunks({run.run_id for run in incoming})
            for row in self._connection.execute(
                sa.select(runs).where(runs.c.unit_id == self._unit_id, runs.c.run_id.in_(chunk))
            )
        }
        changed: set[int] = set()
        counted = 0
        for run in incoming:
            old = stored.get(run.run_id)
            stamp = old.stamp if old else None
            for execution in executions(run):
                if new_one := new_execution(execution, stamp, self._counts_from):
                    stamp = new_one.stamp
                    if new_one.counts:
                        counted += 1
                        self._add(run_increments(execution))
            run = replace(run, earlier=None)
            new = _Stored(newer_run(old.record, run) if old else run, stamp)
            if old is None or new != old:
                changed.add(run.run_id)
                stored[run.run_id] = new
        replace_rows(
            self._connection,
            runs,
            [run_row(self._unit_id, stored[key].record, stored[key].stamp) for key in sorted(changed)],
        )
        self._raise_latest([stored[key].record for key in {run.run_id for run in incoming}])
        return len(changed), counted

    def _raise_latest(self, seen: Iterable[PipelineRun]) -> None:
        """Make each selected run of *seen* the newest of its ref, unless a newer one is known."""
        newest: dict[tuple[str, ...], int] = {}
        for run in seen:
            if run.selected:
                key = (run.pipeline, run.ref_kind.value, run.ref, run.source)
                newest[key] = max(run.run_id, newest.get(key, run.run_id))
        if not newest:
            return
        statement = upsert(self._connection, latest)
        self._connection.execute(
            statement.on_conflict_do_update(
                index_elements=list(latest.primary_key.columns),
                set_={"run_id": statement.excluded.run_id},
                where=statement.excluded.run_id > latest.c.run_id,
            ),
            [
                dict(
                    unit_id=self._unit_id,
                    pipeline=key[0],
                    ref_kind=key[1],
                    ref=key[2],
                    source=key[3],
                    run_id=run_id,
                )
                for key, run_id in sorted(newest.items())
            ],
        )

    def _save_jobs(self, incoming: Sequence[JobRun]) -> tuple[int, int]:
        """Merge *incoming* into the stored jobs; returns (changed rows, executions counted)."""
        stored: dict[int, _Stored[JobRun]] = {}
        names: dict[tuple[int, str], set[int]] = {}
        for chunk in chunks({job.run_id for job in incoming}):
            rows = self._connection.execute(
                sa.select(jobs).where(jobs.c.unit_id == self._unit_id, jobs.c.run_id.in_(chunk))
            )
            for row in rows:
                stored[row.job_id] = _Stored(job_record(row), row.stamp)
                names.setdefault((row.run_id, row.name), set()).add(row.job_id)
        changed: set[int] = set()
        counted = 0
        for job in incoming:
            old = stored.get(job.job_id)
            execution = new_execution(job, old.stamp if old else None, self._counts_from)
            if execution and execution.counts:
                counted += 1
                self._add(job_increments(job))
            same_name = names.setdefault((job.run_id, job.name), set())
            if old is None and same_name and job.created_at >= self._counts_from:
                self._add([retry_increment(job)])
            same_name.add(job.job_id)
            stamp = execution.stamp if execution else old.stamp if old else None
            new = _Stored(newer_job(old.record, job) if old else job, stamp)
            if old is None or new != old:
                changed.add(job.job_id)
                stored[job.job_id] = new
        replace_rows(
            self._connection,
            jobs,
            [job_row(self._unit_id, stored[key].record, stored[key].stamp) for key in sorted(changed)],
        )
        return len(changed), counted

    def _add(self, increments: Iterable[Increment]) -> None:
        """Note *increments* for `_write_totals`."""
        for family, labels, value in increments:
            tally = self._added.setdefault((family, labels), _Tally())
            tally.value += value
            if family.kind == "histogram":
                index = bisect_left(family.buckets, value)
                bound = family.buckets[index] if index < len(family.buckets) else float("inf")
                tally.buckets[bound] = tally.buckets.get(bound, 0) + 1

    def _write_totals(self) -> None:
        """Add what was noted to the stored totals; the unit's lock makes read-then-write safe."""
        rows = {(family.name, json.dumps(labels)): tally for (family, labels), tally in self._added.items()}
        for chunk in chunks({labels for _, labels in rows}):
            stored = self._connection.execute(
                sa.select(totals).where(totals.c.unit_id == self._unit_id, totals.c.labels.in_(chunk))
            )
            for row in stored:
                if tally := rows.get((row.family, row.labels)):
                    tally.value += row.value
                    for bound, count in (json.loads(row.buckets) if row.buckets else {}).items():
                        tally.buckets[float(bound)] = tally.buckets.get(float(bound), 0) + count
        replace_rows(
            self._connection,
            totals,
            [
                dict(
                    unit_id=self._unit_id,
                    family=name,
                    labels=labels,
                    value=tally.value,
                    buckets=json.dumps(tally.buckets) if tally.buckets else None,
                )
                for (name, labels), tally in sorted(rows.items())
            ],
        )

    def _delete_runs(self, run_ids: Sequence[int]) -> int:
        """Delete runs that no longer exist at the source; an older run of the ref becomes its newest."""
        deleted = 0
        for chunk in chunks(run_ids):
            for table in (jobs, runs):
                result = self._connection.execute(
                    sa.delete(table).where(table.c.unit_id == self._unit_id, table.c.run_id.in_(chunk))
                )
                deleted += result.rowcount
            orphans = self._connection.execute(
                sa.select(latest).where(latest.c.unit_id == self._unit_id, latest.c.run_id.in_(chunk))
            ).all()
            for row in orphans:
                self._replace_latest(row)
        return deleted

    def _replace_latest(self, row: sa.Row[Any]) -> None:
        """Point one row of `latest` at the newest run that is left, or remove it."""
        same = [
            table_column == getattr(row, table_column.name)
            for table_column in (runs.c.unit_id, runs.c.pipeline, runs.c.ref_kind, runs.c.ref, runs.c.source)
        ]
        newest = self._connection.execute(
            sa.select(sa.func.max(runs.c.run_id)).where(*same, runs.c.selected)
        ).scalar()
        mine = [column == getattr(row, column.name) for column in latest.primary_key.columns]
        if newest is None:
            self._connection.execute(sa.delete(latest).where(*mine))
        else:
            self._connection.execute(sa.update(latest).where(*mine).values(run_id=newest))

    def _forget_refs(self, batch: Batch) -> int:
        """Remove the state of refs that are gone; a run created since the list was read proves it wrong."""
        if not batch.refs or batch.refs_read_at is None:
            return 0
        rows = self._connection.execute(
            sa.select(latest, runs.c.created_at)
            .join_from(
                latest, runs, sa.and_(runs.c.unit_id == latest.c.unit_id, runs.c.run_id == latest.c.run_id)
            )
            .where(
                latest.c.unit_id == self._unit_id, latest.c.ref_kind.in_([kind.value for kind in batch.refs])
            )
        ).all()
        existing = {kind.value: refs for kind, refs in batch.refs.items()}
        gone = {
            (row.ref_kind, row.ref)
            for row in rows
            if row.ref not in existing[row.ref_kind] and row.created_at < batch.refs_read_at
        }
        for ref_kind, ref in sorted(gone):
            self._connection.execute(
                sa.delete(latest).where(
                    latest.c.unit_id == self._unit_id, latest.c.ref_kind == ref_kind, latest.c.ref == ref
                )
            )
        return len(gone)


def newer_run(old: PipelineRun, new: PipelineRun) -> PipelineRun:
    """What to keep of two sightings of one run: the newer state, and every fact only one of them has.

    An older ``updated_at``, or a lower status at an equal time, never overwrites. A list entry never
    erases the details of an equally new answer.
    """
    if (new.updated_at, new.status.rank) < (old.updated_at, old.status.rank) or (
        new.updated_at == old.updated_at and new.status is old.status and old.complete and not new.complete
    ):
        kept, other = old, new
    else:
        kept, other = new, old
    return replace(
        kept,
        username=kept.username or other.username,
        web_url=kept.web_url or other.web_url,
        selected=new.selected,
    )


def newer_job(old: JobRun, new: JobRun) -> JobRun:
    """What to keep of two sightings of one job.

    Jobs carry no time of change. One that finished stays so: a retry is a new job. Only a skipped or
    canceled one that never ran may be started after all, under the same id.
    """
    if old.status.finished and not new.status.finished:
        return new if old.started_at is None else old
    if old.finished_at and (new.finished_at is None or new.finished_at < old.finished_at):
        return old
    return old if new.status.rank < old.status.rank else new


def next_version(unit_id: int) -> sa.Update:
    """The statement that tells other processes that the unit changed."""
    return sa.update(units).where(units.c.id == unit_id).values(version=units.c.version + 1)
