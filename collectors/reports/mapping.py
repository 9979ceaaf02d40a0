"""Reports to records: what a report leaves out is told by the rest of it, or by when it came."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from collectors.reports.report import JobReport, Report
from exporter.clock import EPOCH
from exporter.errors import BadAnswer
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status

_KEY_BITS = 19  # of an id that is made of a time in seconds and a key, 52 bits in all
_NAME_BITS, _TRY_BITS = 47, 5  # of an id that is made of the name of a job and how often it was tried
_EARLIEST, _LATEST = timedelta(days=3650), timedelta(days=1)  # how far from its arrival a time may be


@dataclass(frozen=True, slots=True)
class _Times:
    """When something started and ended, and how long it ran; ``None`` is unknown, or not yet."""

    started_at: datetime | None
    finished_at: datetime | None
    duration: float | None


def run_of(report: Report, received_at: datetime, selects: Callable[[RefKind, str], bool]) -> PipelineRun:
    """The run as of *received_at*.

    A run that ended, nobody says when, ended now, and once since it started: told again, it is no other
    execution. One that goes on is as of its own times, so that a report of it does no harm when it is late.

    Raises:
        BadAnswer: one of its times is far from *received_at*.
    """
    _refuse_odd_times(report, received_at)
    status, kind = Status(report.status), RefKind(report.ref_kind)
    told = _times(report, status)
    ended = status.finished and status is not Status.SKIPPED
    times = _times(report, status, received_at if ended else None)
    own = report.created_at or report.started_at or received_at
    # The clocks of jobs may be wrong: an end is later than all that was said before it.
    as_of = max(own, received_at, times.finished_at or own) if status.finished else own
    return PipelineRun(
        run_id=_run_id(report),
        pipeline=report.pipeline,
        ref=report.ref,
        ref_kind=kind,
        source=report.source,
        status=status,
        created_at=_created_at(report, times, received_at),
        updated_at=as_of.astimezone(UTC),
        started_at=times.started_at,
        finished_at=times.finished_at,
        duration_seconds=times.duration,
        queue_seconds=_queue(report),
        coverage_ratio=report.coverage_ratio,
        username=report.username,
        web_url=report.web_url,
        sha=report.sha.lower() if report.sha else None,
        commit_title=report.commit_title,
        selected=selects(kind, report.ref),
        ended_by=(times.started_at or EPOCH) if ended and told.finished_at is None else None,
    )


def jobs_of(report: Report, run: PipelineRun) -> Iterator[JobRun]:
    """The jobs of *run*, in their order.

    One that ended nobody knows when, neither it nor the run, is counted once and for all.
    """
    tries: Counter[tuple[str, str]] = Counter()
    ended_at = run.finished_at if run.ended_by is None else None
    for job in report.jobs:
        status = Status(job.status)
        times = _times(job, status, ended_at)
        number, tries[job.stage, job.name] = tries[job.stage, job.name], tries[job.stage, job.name] + 1
        yield JobRun(
            job_id=_job_id(run.run_id, job, number),
            run_id=run.run_id,
            stage=job.stage,
            name=job.name,
            status=status,
            created_at=run.created_at,
            started_at=times.started_at,
            finished_at=times.finished_at,
            duration_seconds=times.duration,
            queue_seconds=job.queue_seconds,
            failure_reason=(job.failure_reason or "unknown") if status is Status.FAILED else "",
            allow_failure=job.allow_failure,
        )


def _times(part: Report | JobReport, status: Status, ended_at: datetime | None = None) -> _Times:
    """Its times, two of which tell the third; *ended_at* is the end if it is told by nothing else."""
    started, finished, duration = part.started_at, part.finished_at, part.duration_seconds
    if not status.finished or status is Status.SKIPPED:
        return _Times(_utc(started), None, None)
    if finished is None and started and duration is not None:
        finished = started + timedelta(seconds=duration)
    finished = finished or ended_at
    if finished and started is None and duration is not None:
        started = finished - timedelta(seconds=duration)
    if finished and started and duration is None:
        duration = max(0.0, (finished - started).total_seconds())
    return _Times(_utc(started), _utc(finished), duration)


def _created_at(report: Report, times: _Times, received_at: datetime) -> datetime:
    if report.created_at:
        return report.created_at.astimezone(UTC)
    if times.started_at:
        return times.started_at - timedelta(seconds=report.queue_seconds or 0.0)
    return times.finished_at or received_at


def _queue(report: Report) -> float | None:
    if report.queue_seconds is None and report.created_at and report.started_at:
        return max(0.0, (report.started_at - report.created_at).total_seconds())
    return report.queue_seconds


def _run_id(report: Report) -> int:
    """The number of the run; from a key, one that is greater than those of runs created before."""
    if report.run_id is not None:
        return report.run_id
    # The model holds that there is both if there is no number.
    seconds = ((report.created_at or EPOCH) - EPOCH) // timedelta(seconds=1)
    return seconds << _KEY_BITS | _hash(_KEY_BITS, report.key or "")


def _job_id(run_id: int, job: JobReport, number: int) -> int:
    """A number for try *number*, from 0, of a job; a later try has a greater one."""
    block, place = divmod(number, 1 << _TRY_BITS)
    return _hash(_NAME_BITS, str(run_id), job.stage, job.name, str(block)) << _TRY_BITS | place


def _hash(bits: int, *texts: str) -> int:
    text = "\0".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> (64 - bits)


def _refuse_odd_times(report: Report, received_at: datetime) -> None:
    parts: list[Report | JobReport] = [report, *report.jobs]
    times = [report.created_at, *(time for part in parts for time in (part.started_at, part.finished_at))]
    latest = received_at + _LATEST
    if any(time and not -_EARLIEST <= time - received_at <= _LATEST for time in times) or any(
        _end_told(part, received_at) > latest for part in parts
    ):
        raise BadAnswer("a time is years ago or in the future")


def _end_told(part: Report | JobReport, received_at: datetime) -> datetime:
    """When it ended by its start and duration; *received_at* if they do not tell."""
    if part.started_at is None or part.duration_seconds is None or not Status(part.status).finished:
        return received_at
    return part.started_at + timedelta(seconds=part.duration_seconds)


def _utc(time: datetime | None) -> datetime | None:
    return time.astimezone(UTC) if time else None
