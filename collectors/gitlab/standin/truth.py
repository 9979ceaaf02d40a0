"""What really happened: every finished execution, written down once and never changed."""

from __future__ import annotations

from typing import Any

from collectors.gitlab.standin.records import Execution, Job, Pipeline


def pipeline_execution(pipeline: Pipeline, at: int, path: str) -> Execution:
    """*pipeline* as it ended at *at*, under the project path of that time."""
    started = pipeline.started_at
    return Execution(
        kind="pipeline",
        project_id=pipeline.project.id,
        project=path,
        pipeline_id=pipeline.id,
        execution=pipeline.execution,
        ref=pipeline.ref,
        ref_kind=pipeline.ref_kind,
        source=pipeline.source,
        status=pipeline.status,
        created_at=pipeline.created_at,
        started_at=started,
        finished_at=pipeline.finished_at,
        duration_seconds=pipeline.duration,
        queue_seconds=None if started is None else (started - pipeline.created_at) / 1000,
        recorded_at=at,
    )


def job_execution(job: Job, at: int, path: str) -> Execution:
    """*job* as it ended at *at*."""
    pipeline, started = job.pipeline, job.started_at
    return Execution(
        kind="bridge" if job.is_bridge else "job",
        project_id=pipeline.project.id,
        project=path,
        pipeline_id=pipeline.id,
        execution=job.execution,
        ref=pipeline.ref,
        ref_kind=pipeline.ref_kind,
        source=pipeline.source,
        status=job.status,
        created_at=job.created_at,
        started_at=started,
        finished_at=job.finished_at,
        duration_seconds=None if not started or not job.finished_at else (job.finished_at - started) / 1000,
        queue_seconds=None if not started or not job.queued_at else (started - job.queued_at) / 1000,
        recorded_at=at,
        job_id=job.id,
        stage=job.plan.stage,
        name=job.plan.name,
        failure_reason=job.failure_reason,
        allow_failure=job.plan.allow_failure,
        runner_type=job.runner.runner_type if job.runner else "",
    )


class Ledger:
    """The append-only list of what finished while the world was moving."""

    def __init__(self) -> None:
        self.entries: list[Execution] = []
        self.test_reports: list[dict[str, Any]] = []
        self.deleted_pipelines: dict[int, int] = {}
        self.deleted_projects: dict[int, int] = {}

    def pipeline(self, pipeline: Pipeline, at: int) -> None:
        """Write down that *pipeline* ended."""
        pipeline.execution += 1
        self.entries.append(pipeline_execution(pipeline, at, pipeline.project.path))

    def job(self, job: Job, at: int) -> None:
        """Write down that *job* ended."""
        job.execution += 1
        self.entries.append(job_execution(job, at, job.pipeline.project.path))
