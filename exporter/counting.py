"""When a finished run or job counts, and what it adds to which total."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from exporter import ci_families
from exporter.clock import timestamp
from exporter.families import Family, Labels
from exporter.model.runs import JobRun, PipelineRun, Status


class Increment(NamedTuple):
    """One addition to a persisted total: an amount for a counter, an observation for a histogram.

    For runs and jobs, ``labels`` are those after provider and project, so that a renamed project keeps
    its totals.
    """

    family: Family
    labels: Labels
    value: float


class Counted(NamedTuple):
    """One finished execution that was not known before: its stamp, and whether it adds to totals."""

    stamp: int
    counts: bool


def new_execution(
    item: PipelineRun | JobRun, stamps: Collection[int], counts_from: datetime
) -> Counted | None:
    """The execution that *item* shows and that was not seen before, if there is one.

    An execution is told by its number where the source counts the attempts of a run. Else it is told by its
    finishing time in whole seconds (webhooks and GraphQL know no finer), 0 where there is none, as for a
    skipped run. So a page served twice, a poll overlapping itself or a
    late, older answer never counts again, while an older answer that shows an execution nobody saved
    still does.

    Args:
        stamps: those of all executions recorded for this run or job.
        counts_from: executions finished before this instant are history: recorded, not counted.
    """
    if not item.status.finished or (isinstance(item, PipelineRun) and not item.complete):
        return None
    if isinstance(item, PipelineRun) and item.attempt is not None:
        counts = (item.finished_at or item.created_at) >= counts_from
        return None if item.attempt in stamps else Counted(item.attempt, counts)
    stamp = int(timestamp(item.finished_at)) if item.finished_at else 0
    # One that ran and yet has no finishing time may be any of those recorded.
    if stamp in stamps or (item.finished_at is None and item.started_at and stamps):
        return None
    if isinstance(item, PipelineRun) and item.ended_by is not None:
        # Made out from other evidence, or told late after others did so: seconds lie between the two.
        earliest, latest = sorted((stamp, int(timestamp(item.ended_by))))
        if any(earliest <= known <= latest for known in stamps):
            return None
    return Counted(stamp, (item.finished_at or item.created_at) >= counts_from)


def executions(run: PipelineRun) -> list[PipelineRun]:
    """*run* as it stood at each execution that it shows, the oldest first."""
    if run.earlier is None:
        return [run]
    before = replace(
        run,
        status=run.earlier.status,
        finished_at=run.earlier.finished_at,
        duration_seconds=run.earlier.duration_seconds,
    )
    return [before, run]


def run_increments(run: PipelineRun) -> list[Increment]:
    """What one finished execution of a run adds."""
    labels = (run.pipeline, run.ref_kind.value, run.source)
    added = [Increment(ci_families.RUNS_TOTAL, (*labels, run.status.value), 1.0)]
    if run.duration_seconds is not None and run.status is not Status.SKIPPED:
        added.append(Increment(ci_families.RUN_DURATION, labels, run.duration_seconds))
    if run.queue_seconds is not None:
        added.append(Increment(ci_families.RUN_QUEUE, labels, run.queue_seconds))
    return added


def job_increments(job: JobRun) -> list[Increment]:
    """What one finished execution of a job adds."""
    labels = (job.stage, job.name)
    added = [Increment(ci_families.JOB_RUNS, (*labels, job.status.value, job.failure_reason), 1.0)]
    if job.duration_seconds is not None:
        added.append(Increment(ci_families.JOB_DURATION, labels, job.duration_seconds))
    if job.queue_seconds is not None:
        added.append(Increment(ci_families.JOB_QUEUE, labels, job.queue_seconds))
        if job.runner_type:
            added.append(Increment(ci_families.RUNNER_QUEUE, (job.runner_type.value,), job.queue_seconds))
    return added


def retry_increment(job: JobRun) -> Increment:
    """What a job adds that was started again under the same name in the same run."""
    return Increment(ci_families.JOB_RETRIES, (job.stage, job.name), 1.0)
