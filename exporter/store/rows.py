"""Records to rows and back."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from sqlalchemy.engine import Row

from exporter.model.runs import JobRun, PipelineRun, RefKind, Status

RUN_FIELDS = (
    "run_id",
    "pipeline",
    "ref",
    "ref_kind",
    "source",
    "status",
    "created_at",
    "updated_at",
    "started_at",
    "finished_at",
    "duration_seconds",
    "queue_seconds",
    "coverage_ratio",
    "username",
    "web_url",
    "sha",
    "commit_title",
    "number",
    "selected",
    "complete",
)
JOB_FIELDS = (
    "job_id",
    "run_id",
    "stage",
    "name",
    "status",
    "created_at",
    "started_at",
    "finished_at",
    "duration_seconds",
    "queue_seconds",
    "failure_reason",
    "allow_failure",
    "web_url",
)
_run_values = attrgetter(*RUN_FIELDS)
_job_values = attrgetter(*JOB_FIELDS)


def run_row(unit_id: int, run: PipelineRun, stamps: frozenset[int], deleted: bool) -> dict[str, Any]:
    """The row of *run*."""
    row = dict(zip(RUN_FIELDS, _run_values(run), strict=True))
    row.update(unit_id=unit_id, ref_kind=run.ref_kind.value, status=run.status.value)
    row.update(stamps=_write_stamps(stamps), deleted=deleted)
    return row


def job_row(unit_id: int, job: JobRun, stamps: frozenset[int]) -> dict[str, Any]:
    """The row of *job*."""
    row = dict(zip(JOB_FIELDS, _job_values(job), strict=True))
    row.update(unit_id=unit_id, status=job.status.value, stamps=_write_stamps(stamps))
    return row


def read_stamps(text: str | None) -> frozenset[int]:
    """The stamps of all recorded executions of a run or job."""
    return frozenset(int(stamp) for stamp in text.split()) if text else frozenset()


def _write_stamps(stamps: frozenset[int]) -> str | None:
    return " ".join(str(stamp) for stamp in sorted(stamps)) if stamps else None


def run_record(row: Row[Any]) -> PipelineRun:
    """The run in *row*."""
    fields = dict(zip(RUN_FIELDS, _run_values(row), strict=True))
    fields["status"] = Status(row.status)
    fields["ref_kind"] = RefKind(row.ref_kind)
    return PipelineRun(**fields)


def job_record(row: Row[Any]) -> JobRun:
    """The job in *row*."""
    fields = dict(zip(JOB_FIELDS, _job_values(row), strict=True))
    fields["status"] = Status(row.status)
    return JobRun(**fields)
