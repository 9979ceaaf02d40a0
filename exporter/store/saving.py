"""Saving one batch: newer state over older, every new execution into the totals, one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.contract import Batch, Observation
from exporter.counting import (
    Increment,
    executions,
    job_increments,
    new_execution,
    retry_increment,
    run_increments,
)
from exporter.model.runs import JobRun, PipelineRun
from exporter.store.base import Saved
from exporter.store.merging import newer_job, newer_run
from exporter.store.newest import Newest, latest_key
from exporter.store.observing import remember, unseen
from exporter.store.periods import Counted, Periods
from exporter.store.rows import job_record, job_row, read_stamps, run_record, run_row
from exporter.store.statements import chunks, replace_rows
from exporter.store.tables import jobs, runs
from exporter.store.tally import Tally
from exporter.store.telling import Teller

R = TypeVar("R", PipelineRun, JobRun)


@dataclass(slots=True)
class _Stored(Generic[R]):
    """A record as stored or about to be, with the stamps of its recorded executions."""

    record: R
    stamps: frozenset[int]
    deleted: bool = False


class Saver:
    """Saves one batch of one unit on a connection that holds the unit's lock."""

    def __init__(self, connection: Connection, unit: sa.Row[Any], teller: Teller | None = None) -> None:
        self._connection = connection
        self._teller = teller
        self._target_id: int = unit.target_id
        self._unit_id = unit_id = unit.id
        self._counts_from: datetime = unit.counts_from
        self._tally = Tally(connection, unit_id)
        self._newest = Newest(connection, unit_id)
        self._periods = Periods(connection, unit_id)
        self._counted: dict[type, int] = {PipelineRun: 0, JobRun: 0}

    def save(self, batch: Batch) -> Saved:
        """Write the records and what they add to totals; the unit's own row is the caller's."""
        changed = self._save_runs(batch.runs) + self._save_jobs(batch.jobs)
        changed += self._delete_runs(batch.deleted_runs) + self._newest.forget_refs(batch)
        changed += self._tally.give_up(batch.given_up) + self._observe(batch.observations)
        self._tally.write()
        self._periods.write()
        return Saved(changed, self._counted[PipelineRun], self._counted[JobRun])

    def _save_runs(self, incoming: Sequence[PipelineRun]) -> int:
        """Merge *incoming* into the stored runs; returns how many changed."""
        stored = self._stored_runs({run.run_id for run in incoming})
        changed: set[int] = set()
        moved: set[int] = set()
        for run in incoming:
            old = stored.get(run.run_id)
            new = self._merged_run(old, run)
            if new != old:
                if self._teller and not new.deleted:
                    self._teller.run(old.record if old else None, new.record)
                changed.add(run.run_id)
                stored[run.run_id] = new
                self._periods.replace(_counted(old), _counted(new))
            if old and latest_key(old.record) != latest_key(new.record):
                moved.add(run.run_id)
        rows = [stored[run_id] for run_id in sorted(changed)]
        replace_rows(
            self._connection,
            runs,
            [run_row(self._unit_id, row.record, row.stamps, row.deleted) for row in rows],
        )
        self._newest.replace(sorted(moved))
        self._newest.note(row.record for row in rows if not row.deleted)
        listed = {run.run_id for run in incoming if run.selected and not run.complete}
        restored = self._newest.restore(stored[key].record for key in listed if not stored[key].deleted)
        return len(changed) + restored

    def _stored_runs(self, run_ids: Iterable[int]) -> dict[int, _Stored[PipelineRun]]:
        return {
            row.run_id: _Stored(run_record(row), read_stamps(row.stamps), row.deleted)
            for chunk in chunks(run_ids)
            for row in self._connection.execute(
                sa.select(runs).where(runs.c.unit_id == self._unit_id, runs.c.run_id.in_(chunk))
            )
        }

    def _merged_run(self, old: _Stored[PipelineRun] | None, run: PipelineRun) -> _Stored[PipelineRun]:
        """What is to be stored once *run* was seen, its new execution counted."""
        stamps = old.stamps if old else frozenset()
        for execution in executions(run):
            counted = self._count(execution, stamps)
            if self._teller and execution is not run and counted != stamps:
                self._teller.run(None, replace(execution, earlier=None))
            stamps = counted
        run = replace(run, earlier=None, ended_by=None, attempt=None)
        if old is None:
            return _Stored(run, stamps)
        if old.deleted and run.updated_at <= old.record.updated_at:
            # A late answer from before the deletion. Newer news means that it is there after all.
            return _Stored(old.record, stamps, deleted=True)
        return _Stored(newer_run(old.record, run), stamps)

    def _save_jobs(self, incoming: Sequence[JobRun]) -> int:
        """Merge *incoming* into the stored jobs; returns how many changed."""
        stored = self._stored_jobs(incoming)
        first: dict[tuple[int, str], JobRun] = {}
        for item in sorted(stored.values(), key=lambda item: item.record.job_id):
            first.setdefault((item.record.run_id, item.record.name), item.record)
        changed: set[int] = set()
        known_runs = self._stored_runs({job.run_id for job in incoming}) if self._teller else {}
        for job in incoming:
            old = stored.get(job.job_id)
            stamps = self._count(job, old.stamps if old else frozenset())
            if old is None:
                self._count_retry(first, job)
            new = _Stored(newer_job(old.record, job) if old else job, stamps)
            if new != old:
                if self._teller:
                    run = known_runs.get(job.run_id)
                    self._teller.job(old.record if old else None, new.record, run.record if run else None)
                changed.add(job.job_id)
                stored[job.job_id] = new
        rows = [stored[job_id] for job_id in sorted(changed)]
        replace_rows(self._connection, jobs, [job_row(self._unit_id, row.record, row.stamps) for row in rows])
        return len(changed)

    def _stored_jobs(self, incoming: Sequence[JobRun]) -> dict[int, _Stored[JobRun]]:
        """Every stored job of the runs of *incoming*: those of the same name tell a retry."""
        return {
            row.job_id: _Stored(job_record(row), read_stamps(row.stamps))
            for chunk in chunks({job.run_id for job in incoming})
            for row in self._connection.execute(
                sa.select(jobs).where(jobs.c.unit_id == self._unit_id, jobs.c.run_id.in_(chunk))
            )
        }

    def _count(self, item: R, stamps: frozenset[int]) -> frozenset[int]:
        """Count what *item* shows, unless one of *stamps* says it was; returns the stamps from now on."""
        execution = new_execution(item, stamps, self._counts_from)
        if execution is None:
            return stamps
        if execution.counts:
            self._counted[type(item)] += 1
            self._tally.add(run_increments(item) if isinstance(item, PipelineRun) else job_increments(item))
        return stamps | {execution.stamp}

    def _count_retry(self, first: dict[tuple[int, str], JobRun], job: JobRun) -> None:
        """Count the retry that a new *job* proves: every job of a name is one, except the first.

        If *job* turns out to be the first, then the one that was taken for it is a retry: so the count
        does not depend on which of them is seen first.
        """
        key = (job.run_id, job.name)
        earliest = first.setdefault(key, job)
        if earliest is job:
            return
        if job.job_id < earliest.job_id:
            first[key], job = job, earliest
        if job.created_at >= self._counts_from:
            self._tally.add([retry_increment(job)])

    def _observe(self, events: Sequence[Observation]) -> int:
        """Add those of *events* that are new to their totals; returns how many."""
        fresh = unseen(self._connection, self._target_id, self._unit_id, events)
        remember(self._connection, self._target_id, self._unit_id, fresh)
        self._tally.add(Increment(event.family, event.labels, event.value) for event in fresh.values())
        return len(fresh)

    def _delete_runs(self, run_ids: Sequence[int]) -> int:
        """Hide runs that no longer exist at the source; an older run of the ref becomes its newest.

        Their rows stay until they are pruned: without them a late answer that was asked for before the
        deletion would count once more.
        """
        hidden = 0
        gone: dict[str, Any] = {"deleted": True, "username": None, "web_url": None, "commit_title": None}
        self._periods.remove(run_ids)
        for chunk in chunks(run_ids):
            mine = (runs.c.unit_id == self._unit_id, runs.c.run_id.in_(chunk), sa.not_(runs.c.deleted))
            hidden += self._connection.execute(sa.update(runs).where(*mine).values(gone)).rowcount
        self._newest.replace(run_ids)
        return hidden


def _counted(stored: _Stored[PipelineRun] | None) -> Counted | None:
    """What of a stored run is in its period; ``None`` if it may not be seen."""
    if stored is None or stored.deleted:
        return None
    run = stored.record
    return Counted(
        run.created_at,
        run.status.value,
        run.source,
        run.ref_kind.value,
        run.duration_seconds,
        run.queue_seconds,
    )
