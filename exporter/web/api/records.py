"""The records that are answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exporter.model.runs import Status
from exporter.web.api.columns import (
    COUNT,
    FLAG,
    ID,
    ID_OR_NULL,
    INSTANT,
    INSTANT_OR_NULL,
    NUMBER,
    PERCENT,
    REF_KIND,
    STATUS,
    STATUS_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    Column,
    Table,
    percent,
    through,
)

_PLACE = (
    Column("provider", TEXT, "Kind of source, as in the label provider.", lambda one: one.provider),
    Column("project_name", TEXT, "Full path of the project.", lambda one: one.project),
)
_RUN_ID = Column("id", ID, "The source's number of the run.", lambda run: run.run_id)
_RUN = (
    Column("number", NUMBER, "What people call it by, where that is not its id.", lambda run: run.number),
    Column("pipeline", TEXT, "Name of the definition; empty with one per project.", lambda run: run.pipeline),
    Column("ref", TEXT, "Branch, tag or change request.", lambda run: run.ref),
    Column("ref_kind", REF_KIND, "What the run was for.", lambda run: run.ref_kind),
    Column("status", STATUS, "Where it stands.", lambda run: run.status),
    Column("source", TEXT, "What triggered it, as in the label source.", lambda run: run.source),
    Column("created_at", INSTANT, "When it was created.", lambda run: run.created_at),
    Column("started_at", INSTANT_OR_NULL, "When it first started.", lambda run: run.started_at),
    Column("finished_at", INSTANT_OR_NULL, "When it ended.", lambda run: run.finished_at),
    Column("duration", NUMBER, "How long it ran, in seconds.", lambda run: run.duration_seconds),
    Column("queue_duration", NUMBER, "How long it waited, in seconds.", lambda run: run.queue_seconds),
    Column("coverage", PERCENT, "Test coverage, in percent.", lambda run: percent(run.coverage_ratio)),
    Column("username", TEXT_OR_NULL, "Who triggered it.", lambda run: run.username),
    Column("web_url", TEXT_OR_NULL, "Where the source shows it.", lambda run: run.web_url),
    Column("sha", TEXT_OR_NULL, "The commit that it is for.", lambda run: run.sha),
    Column("commit_title", TEXT_OR_NULL, "The first line of its message.", lambda run: run.commit_title),
)
RUN = Table(
    "Run",
    "One run of a pipeline.",
    (
        *through([_RUN_ID], lambda shown: shown.run),
        *_PLACE,
        *through(_RUN, lambda shown: shown.run),
        Column(
            "default_branch",
            FLAG,
            "Whether it is of the project's default branch.",
            lambda shown: shown.default_branch,
        ),
    ),
)

JOB = Table(
    "Job",
    "One execution of a job of a run.",
    (
        Column("id", ID, "The source's number of the job.", lambda job: job.job_id),
        Column("stage", TEXT, "Its stage.", lambda job: job.stage),
        Column("name", TEXT, "Its name.", lambda job: job.name),
        Column("status", STATUS, "Where it stands.", lambda job: job.status),
        Column("created_at", INSTANT, "When it was created.", lambda job: job.created_at),
        Column("started_at", INSTANT_OR_NULL, "When it started.", lambda job: job.started_at),
        Column("finished_at", INSTANT_OR_NULL, "When it ended.", lambda job: job.finished_at),
        Column("duration", NUMBER, "How long it ran, in seconds.", lambda job: job.duration_seconds),
        Column("queue_duration", NUMBER, "How long it waited, in seconds.", lambda job: job.queue_seconds),
        Column("failure_reason", TEXT, "Why it failed; empty unless it did.", lambda job: job.failure_reason),
        Column("allow_failure", FLAG, "Whether the run may go on without it.", lambda job: job.allow_failure),
        Column("runner_type", TEXT_OR_NULL, "The sort of runner that took it.", lambda job: job.runner_type),
        Column("web_url", TEXT_OR_NULL, "Where the source shows it.", lambda job: job.web_url),
    ),
)
RUN_WITH_JOBS = Table(
    "RunWithJobs",
    "One run and its jobs.",
    (
        *through(RUN.columns, lambda found: found[0]),
        Column(
            "jobs",
            {"type": "array", "items": JOB.reference()},
            "Its jobs, retried ones too.",
            lambda found: [JOB.row(job) for job in found[1]],
        ),
    ),
)


def _count(status: Status) -> Callable[[Any], int]:
    return lambda summary: int(summary.counts.get(status, 0))


SUMMARY = Table(
    "Summary",
    "Runs in numbers.",
    (
        Column("total_count", COUNT, "How many runs there are.", lambda summary: summary.total),
        *(
            Column(f"{status}_count", COUNT, f"How many of them are {status}.", _count(status))
            for status in Status
        ),
        Column(
            "success_rate",
            PERCENT,
            "success_count / (success_count + failed_count), in percent; null without either.",
            lambda summary: percent(summary.success_rate),
        ),
        Column("avg_duration", NUMBER, "Mean duration, in seconds.", lambda one: one.avg_duration),
        Column("avg_queue_duration", NUMBER, "Mean wait, in seconds.", lambda one: one.avg_queue_duration),
        Column("p50_duration", NUMBER, "Median duration, in seconds.", lambda one: one.duration.p50),
        Column("p95_duration", NUMBER, "95 % take no longer, in seconds.", lambda one: one.duration.p95),
        Column("p50_queue_duration", NUMBER, "Median wait, in seconds.", lambda one: one.queue_duration.p50),
        Column(
            "p95_queue_duration",
            NUMBER,
            "95 % wait no longer, in seconds.",
            lambda one: one.queue_duration.p95,
        ),
    ),
)
STEP = Table(
    "Step",
    "The runs created in one step of time.",
    (
        Column("start", INSTANT, "When the step begins.", lambda step: step.start),
        *through(SUMMARY.columns, lambda step: step.summary),
    ),
)
PROJECT = Table(
    "Project",
    "A project, its runs in numbers, and the newest run of its default branch.",
    (
        *_PLACE,
        Column("default_branch", TEXT, "Its default branch.", lambda state: state.default_branch),
        *through(SUMMARY.columns, lambda state: state.summary),
        *through(
            [
                Column("last_id", ID_OR_NULL, "Number of that run.", lambda run: run.run_id),
                Column("last_status", STATUS_OR_NULL, "Where it stands.", lambda run: run.status),
                Column(
                    "last_created_at", INSTANT_OR_NULL, "When it was created.", lambda run: run.created_at
                ),
                Column("last_finished_at", INSTANT_OR_NULL, "When it ended.", lambda run: run.finished_at),
                Column(
                    "last_duration", NUMBER, "How long it ran, in seconds.", lambda run: run.duration_seconds
                ),
                Column("last_web_url", TEXT_OR_NULL, "Where the source shows it.", lambda run: run.web_url),
            ],
            lambda state: state.newest,
        ),
    ),
)
JOB_STATE = Table(
    "JobState",
    "All executions of one job of one project.",
    (
        *_PLACE,
        Column("stage", TEXT, "Its stage.", lambda state: state.stage),
        Column("name", TEXT, "Its name.", lambda state: state.name),
        Column("total_count", COUNT, "How often it ran.", lambda state: state.runs),
        Column("failed_count", COUNT, "How often it failed.", lambda state: state.failed),
        Column(
            "retried_count", COUNT, "How often it was run again in the same run.", lambda state: state.retried
        ),
        Column(
            "flaky_count", COUNT, "Runs in which it failed and then succeeded.", lambda state: state.flaky
        ),
        Column("avg_duration", NUMBER, "Mean duration, in seconds.", lambda state: state.avg_duration),
        Column("max_duration", NUMBER, "Longest duration, in seconds.", lambda state: state.max_duration),
    ),
)
DORA = Table(
    "Dora",
    "The four measures of software delivery; null where there is nothing to measure.",
    (
        Column(
            "days",
            {"type": "number", "minimum": 0},
            "Length of the time asked about.",
            lambda dora: dora.days,
        ),
        Column(
            "deployment_count",
            COUNT,
            "Deployments that ended, failed ones too.",
            lambda dora: dora.deployments,
        ),
        Column(
            "failed_deployment_count",
            COUNT,
            "Those of them that failed.",
            lambda dora: dora.failed_deployments,
        ),
        Column(
            "deployments_per_day",
            {"type": "number", "minimum": 0},
            "Deployment frequency.",
            lambda dora: dora.deployments_per_day,
        ),
        Column(
            "lead_time",
            NUMBER,
            "Lead time for changes, in seconds.",
            lambda dora: dora.lead_time_seconds,
        ),
        Column(
            "change_failure_rate",
            PERCENT,
            "Share of deployments that failed, in percent.",
            lambda dora: percent(dora.change_failure_rate),
        ),
        Column(
            "time_to_restore",
            NUMBER,
            "From a failed deployment to the next that succeeds, in seconds.",
            lambda dora: dora.time_to_restore_seconds,
        ),
    ),
)
TABLES = (RUN, RUN_WITH_JOBS, JOB, SUMMARY, STEP, PROJECT, JOB_STATE, DORA)
