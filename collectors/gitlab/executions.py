"""Earlier executions of a pipeline that was run again, made out from its jobs.

GitLab keeps the times of one execution only, and the status of none but the present one. All its jobs,
retried ones included, tell what happened before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from exporter.model.runs import JobRun, PipelineRun, Status

# A job that GitLab retries by itself begins anew at once, while its pipeline runs on.
_BY_HAND = timedelta(seconds=5)


def with_earlier_status(run: PipelineRun, jobs: Sequence[JobRun]) -> PipelineRun:
    """*run* with the status of its earlier execution, made out from its *jobs*, bridges included.

    Without jobs it stays ``failed``: that is why one runs again.
    """
    if run.earlier is None or not jobs:
        return run
    return replace(run, earlier=replace(run.earlier, status=_status_at(jobs, run.earlier.finished_at)))


def unseen(run: PipelineRun, builds: Sequence[JobRun], bridges: Sequence[JobRun]) -> list[PipelineRun]:
    """*run* as it stood after executions of which GitLab shows no times any more, the oldest first.

    A pipeline that failed and was retried by hand, all between two polls, would otherwise have failed
    unseen. It ended between its last job and the retry: an execution that was seen after all, with
    GitLab's own time in that span, is not counted again. Only ends that somebody's retry proves are told.
    """
    shown = run.finished_at or (run.earlier.finished_at if run.earlier else None)
    if shown is None:
        return []
    jobs = [*builds, *bridges]
    found: dict[datetime, PipelineRun] = {}
    for again in sorted(_retries(jobs), key=lambda job: job.created_at):
        before = [job for job in jobs if job.finished_at and job.finished_at <= again.created_at]
        end = max((job.finished_at for job in before if job.finished_at), default=again.created_at)
        if again.created_at >= shown or again.created_at - end < _BY_HAND:
            continue
        if any(_active(job, again.created_at) for job in jobs) or _open_stage(jobs, end, again.created_at):
            continue
        status = _status_at(jobs, end)
        if status is not Status.SUCCESS:
            # The time that builds of other pipelines took belongs to the duration, and is not known here.
            duration = None if bridges else _union_seconds(_newest(before))
            found[end] = _ended(run, status, end, again.created_at, duration)
    return list(found.values())


def _ended(
    run: PipelineRun, status: Status, end: datetime, ended_by: datetime, duration: float | None
) -> PipelineRun:
    """*run* as it stood at *end*."""
    return replace(
        run,
        status=status,
        updated_at=end,
        finished_at=end,
        duration_seconds=duration,
        coverage_ratio=None,
        earlier=None,
        ended_by=ended_by,
    )


def _retries(jobs: Sequence[JobRun]) -> list[JobRun]:
    """Jobs that began under the name of an older one."""
    first: dict[str, int] = {}
    for job in jobs:
        first[job.name] = min(job.job_id, first.get(job.name, job.job_id))
    return [job for job in jobs if job.job_id != first[job.name]]


def _active(job: JobRun, moment: datetime) -> bool:
    """Whether *job* waited for a runner, or ran, just before *moment*."""
    if job.started_at is None:
        return False
    begun = job.started_at - timedelta(seconds=job.queue_seconds or 0.0)
    return begun < moment and (job.finished_at is None or job.finished_at > moment)


def _open_stage(jobs: Sequence[JobRun], end: datetime, moment: datetime) -> bool:
    """Whether a job beside a failed one was still to come at *moment*: delayed, blocked, without a runner.

    Then the pipeline had not ended, though nothing ran. Jobs of other stages are no sign: they are skipped
    when one fails, and come to life when it is retried.
    """
    stages = {job.stage for job in jobs if job.status is Status.FAILED and _over_by(job, end)}
    return any(
        job.stage in stages
        and job.created_at < moment
        and not _over_by(job, moment)
        and (job.started_at or job.finished_at or job.status not in (Status.MANUAL, Status.SKIPPED))
        for job in jobs
    )


def _over_by(job: JobRun, moment: datetime) -> bool:
    return job.finished_at is not None and job.finished_at <= moment


def _status_at(jobs: Sequence[JobRun], end: datetime) -> Status:
    """How a pipeline ended at *end*, composed as GitLab does: from the newest job of each name."""
    newest = _newest([job for job in jobs if job.finished_at and job.finished_at <= end])
    statuses = {job.status for job in newest if not job.allow_failure}
    return next((one for one in (Status.FAILED, Status.CANCELED) if one in statuses), Status.SUCCESS)


def _newest(jobs: Sequence[JobRun]) -> list[JobRun]:
    """The newest job of each name."""
    return list({job.name: job for job in sorted(jobs, key=lambda job: job.job_id)}.values())


def _union_seconds(jobs: Sequence[JobRun]) -> float:
    """Whole seconds during which at least one of *jobs* ran, as GitLab measures a pipeline."""
    spans = sorted((job.started_at, job.finished_at) for job in jobs if job.started_at and job.finished_at)
    total = timedelta()
    reached: datetime | None = None
    for start, end in spans:
        total += max(timedelta(), end - max(start, reached or start))
        reached = max(end, reached or end)
    return float(total // timedelta(seconds=1))
