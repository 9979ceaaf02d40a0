"""The ``ci_*`` families that every CI collector shares, and how one unit's state becomes their samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from exporter.clock import timestamp
from exporter.families import Family, Sample, Samples, counter, gauge, histogram
from exporter.model.runs import FINISHED, JobRun, PipelineRun, Status
from exporter.model.views import Total, UnitView

RUN_DURATION_BUCKETS = (10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
JOB_DURATION_BUCKETS = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)
QUEUE_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)

_REF = ("provider", "project", "pipeline", "ref", "ref_kind", "source")
_RUN = ("provider", "project", "pipeline", "ref_kind", "source")
_JOB = ("provider", "project", "stage", "job")
_JOB_REF = (*_JOB, "ref", "ref_kind")
_POLLED = "From the last poll, not the moment of the scrape."

PROJECT_INFO = gauge(
    "ci_project_info",
    f"A project that is watched, and its default branch. {_POLLED}",
    ("provider", "project", "default_branch"),
    source="project",
)
PIPELINE_STATUS = gauge(
    "ci_pipeline_status",
    f"1 for the status of the newest run of a ref. {_POLLED}",
    (*_REF, "status"),
    source="newest run of each ref",
)
LAST_RUN_ID = gauge(
    "ci_pipeline_last_run_id",
    f"The source's id of the newest run of a ref. {_POLLED}",
    _REF,
    source="newest run of each ref",
)
LAST_DURATION = gauge(
    "ci_pipeline_last_duration_seconds",
    f"How long the newest run of a ref took, once finished. {_POLLED}",
    _REF,
    unit="seconds",
    source="newest run of each ref",
)
LAST_QUEUE = gauge(
    "ci_pipeline_last_queue_duration_seconds",
    f"From creation to first start of the newest run of a ref, once started. {_POLLED}",
    _REF,
    unit="seconds",
    source="newest run of each ref",
)
LAST_CREATED = gauge(
    "ci_pipeline_last_created_timestamp_seconds",
    f"When the newest run of a ref was created. {_POLLED}",
    _REF,
    unit="seconds",
    source="newest run of each ref",
)
LAST_FINISHED = gauge(
    "ci_pipeline_last_finished_timestamp_seconds",
    f"When the newest run of a ref finished. {_POLLED}",
    _REF,
    unit="seconds",
    source="newest run of each ref",
)
LAST_COVERAGE = gauge(
    "ci_pipeline_last_coverage_ratio",
    f"Test coverage that the newest run of a ref reported. {_POLLED}",
    _REF,
    unit="ratio",
    source="newest run of each ref",
)
RUNS_ACTIVE = gauge(
    "ci_pipeline_runs_active",
    f"Runs of any ref that are not finished. {_POLLED}",
    ("provider", "project", "status"),
    source="unfinished runs",
)
OLDEST_ACTIVE = gauge(
    "ci_pipeline_oldest_active_timestamp_seconds",
    f"When the oldest unfinished run of a status was created. {_POLLED}",
    ("provider", "project", "status"),
    unit="seconds",
    source="unfinished runs",
)
RUNS_TOTAL = counter(
    "ci_pipeline_runs_total",
    "Finished executions of pipelines, each counted once and kept over restarts.",
    (*_RUN, "status"),
    source="every finished execution",
)
RUN_DURATION = histogram(
    "ci_pipeline_run_duration_seconds",
    "How long finished executions of pipelines took, each observed once and kept over restarts.",
    _RUN,
    buckets=RUN_DURATION_BUCKETS,
    unit="seconds",
    source="every finished execution",
)
RUN_QUEUE = histogram(
    "ci_pipeline_run_queue_duration_seconds",
    "From creation to first start of finished executions, each observed once and kept over restarts.",
    _RUN,
    buckets=QUEUE_BUCKETS,
    unit="seconds",
    source="every finished execution",
)
JOB_RUNS = counter(
    "ci_job_runs_total",
    "Finished executions of jobs, each counted once and kept over restarts.",
    (*_JOB, "status", "failure_reason"),
    source="every finished job",
)
JOB_DURATION = histogram(
    "ci_job_run_duration_seconds",
    "How long finished jobs ran, each observed once and kept over restarts.",
    _JOB,
    buckets=JOB_DURATION_BUCKETS,
    unit="seconds",
    source="every finished job",
)
JOB_QUEUE = histogram(
    "ci_job_run_queue_duration_seconds",
    "How long finished jobs waited for a runner, each observed once and kept over restarts.",
    _JOB,
    buckets=QUEUE_BUCKETS,
    unit="seconds",
    source="every finished job",
)
RUNNER_QUEUE = histogram(
    "ci_runner_job_queue_duration_seconds",
    "How long finished jobs waited, by the sort of runner that took them, each observed once and kept.",
    ("provider", "project", "runner_type"),
    buckets=QUEUE_BUCKETS,
    unit="seconds",
    source="every finished job",
)
JOB_RETRIES = counter(
    "ci_job_retries_total",
    "Jobs started again under the same name in the same run, kept over restarts.",
    _JOB,
    source="retried jobs",
)
JOB_STATUS = gauge(
    "ci_job_status",
    f"1 for the status of the newest job of the newest run of a ref (opt-in). {_POLLED}",
    (*_JOB_REF, "status"),
    source="newest run of each ref",
)
JOB_LAST_ID = gauge(
    "ci_job_last_id",
    f"The source's id of the newest job of the newest run of a ref (opt-in). {_POLLED}",
    _JOB_REF,
    source="newest run of each ref",
)
JOB_LAST_DURATION = gauge(
    "ci_job_last_duration_seconds",
    f"How long the newest job of the newest run of a ref ran (opt-in). {_POLLED}",
    _JOB_REF,
    unit="seconds",
    source="newest run of each ref",
)
JOB_LAST_QUEUE = gauge(
    "ci_job_last_queue_duration_seconds",
    f"How long the newest job of the newest run of a ref waited for a runner (opt-in). {_POLLED}",
    _JOB_REF,
    unit="seconds",
    source="newest run of each ref",
)
JOB_LAST_FINISHED = gauge(
    "ci_job_last_finished_timestamp_seconds",
    f"When the newest job of the newest run of a ref finished (opt-in). {_POLLED}",
    _JOB_REF,
    unit="seconds",
    source="newest run of each ref",
)

PIPELINE_FAMILIES: tuple[Family, ...] = (
    PROJECT_INFO,
    PIPELINE_STATUS,
    LAST_RUN_ID,
    LAST_DURATION,
    LAST_QUEUE,
    LAST_CREATED,
    LAST_FINISHED,
    LAST_COVERAGE,
    RUNS_ACTIVE,
    OLDEST_ACTIVE,
    RUNS_TOTAL,
    RUN_DURATION,
    RUN_QUEUE,
)
JOB_FAMILIES: tuple[Family, ...] = (
    JOB_RUNS,
    JOB_DURATION,
    JOB_QUEUE,
    RUNNER_QUEUE,
    JOB_RETRIES,
    JOB_STATUS,
    JOB_LAST_ID,
    JOB_LAST_DURATION,
    JOB_LAST_QUEUE,
    JOB_LAST_FINISHED,
)
FAMILIES = PIPELINE_FAMILIES + JOB_FAMILIES
_PERSISTED = {family.name: family for family in FAMILIES if family.kind != "gauge"}

_RUNNER = ("provider", "runner")
_QUEUE = ("provider", "runner_type", "tags")

RUNNER_INFO = gauge(
    "ci_runner_info",
    f"A runner by its id at the source: what it is called and where it runs. {_POLLED}",
    (*_RUNNER, "runner_type", "description", "version", "platform", "architecture", "tags"),
    source="runner",
)
RUNNER_ONLINE = gauge(
    "ci_runner_online",
    "Whether the source takes the runner to be at work; it may take hours to notice that one is not."
    f" {_POLLED}",
    _RUNNER,
    source="runner",
)
RUNNER_PAUSED = gauge(
    "ci_runner_paused",
    f"Whether the runner is told to take no jobs. {_POLLED}",
    _RUNNER,
    source="runner",
)
RUNNER_LAST_CONTACT = gauge(
    "ci_runner_last_contact_timestamp_seconds",
    f"When the runner last asked for jobs; absent if it never did. {_POLLED}",
    _RUNNER,
    unit="seconds",
    source="runner",
)
RUNNER_JOBS = gauge(
    "ci_runner_jobs_running",
    f"Jobs that an online runner executes; absent where the token may not see them. {_POLLED}",
    _RUNNER,
    source="runner",
)
RUNNERS = gauge(
    "ci_runners",
    f"Runners by type and status, those without series of their own too. {_POLLED}",
    ("provider", "runner_type", "status"),
    source="all runners in sight",
)
QUEUE_JOBS = gauge(
    "ci_runner_queue_jobs",
    "Jobs that wait for a runner, by their tags and the narrowest type of online runner that may take them;"
    f" none if there is no such runner. {_POLLED}",
    _QUEUE,
    source="waiting jobs",
)
QUEUE_OLDEST = gauge(
    "ci_runner_queue_oldest_timestamp_seconds",
    f"When the longest waiting of these jobs began to wait. {_POLLED}",
    _QUEUE,
    unit="seconds",
    source="waiting jobs",
)

RUNNER_FAMILIES: tuple[Family, ...] = (
    RUNNERS,
    RUNNER_INFO,
    RUNNER_ONLINE,
    RUNNER_PAUSED,
    RUNNER_LAST_CONTACT,
    RUNNER_JOBS,
    QUEUE_JOBS,
    QUEUE_OLDEST,
)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a collector's runs are shown.

    ``dense`` adds a 0 for every status that a ref does not have; ``job_state`` adds the newest job
    of each name for the newest run of each ref.
    """

    provider: str
    dense: bool = False
    job_state: bool = False


def unit_samples(view: UnitView, options: RunOptions) -> Samples:
    """Everything one unit exposes: family -> samples, each list in a stable order."""
    samples: dict[Family, list[Sample]] = {family: [] for family in FAMILIES}
    where = (options.provider, view.name)
    samples[PROJECT_INFO].append(Sample((*where, view.default_branch), 1.0))
    for run in sorted(view.latest, key=lambda run: (run.pipeline, run.ref, run.ref_kind, run.source)):
        _add_ref(samples, where, run, options)
    if options.job_state:
        for run, job in _newest_jobs(view):
            _add_job_state(samples, where, run, job, options)
    for active in sorted(view.active, key=lambda active: active.status):
        labels = (*where, active.status.value)
        samples[RUNS_ACTIVE].append(Sample(labels, float(active.count)))
        samples[OLDEST_ACTIVE].append(Sample(labels, timestamp(active.oldest_created_at)))
    for total in sorted(view.totals, key=lambda total: tuple(map(str, total.labels))):
        # What does not fit our families was written by another version: kept in the store, not shown.
        if (family := _PERSISTED.get(total.family)) and _fits(family, total):
            value = total.value if total.buckets is None else family.distribution(total.buckets, total.value)
            samples[family].append(Sample(where + total.labels, value))
    _add_zeros(samples[RUNS_TOTAL])
    return samples


def _fits(family: Family, total: Total) -> bool:
    """Whether *total* has the labels and the kind of value that *family* has in this version."""
    return len(total.labels) + 2 == len(family.labels) and (total.buckets is None) == (
        family.kind == "counter"
    )


def _add_ref(
    samples: dict[Family, list[Sample]], where: tuple[str, str], run: PipelineRun, options: RunOptions
) -> None:
    """Add the state of the newest run of one ref; what is unknown is left out, never 0."""
    labels = (*where, run.pipeline, run.ref, run.ref_kind.value, run.source)
    for status, value in _states(run.status, options.dense):
        samples[PIPELINE_STATUS].append(Sample((*labels, status), value))
    samples[LAST_RUN_ID].append(Sample(labels, float(run.run_id)))
    _add_known(samples[LAST_DURATION], labels, run.duration_seconds)
    _add_known(samples[LAST_QUEUE], labels, run.queue_seconds)
    _add_known(samples[LAST_CREATED], labels, run.created_at)
    _add_known(samples[LAST_FINISHED], labels, run.finished_at)
    _add_known(samples[LAST_COVERAGE], labels, run.coverage_ratio)


def _newest_jobs(view: UnitView) -> list[tuple[PipelineRun, JobRun]]:
    """The newest job of each name of each ref, sorted by ref and name.

    A ref has several newest runs, one for each source (push, schedule, child pipelines); these job
    families have no source label, so the job of the newest run speaks for all.
    """
    newest: dict[tuple[str, ...], tuple[PipelineRun, JobRun]] = {}
    for run in sorted(view.latest, key=lambda run: run.run_id):
        for job in view.latest_jobs.get(run.run_id, ()):
            newest[run.ref_kind, run.ref, job.stage, job.name] = (run, job)
    return [newest[key] for key in sorted(newest)]


def _add_job_state(
    samples: dict[Family, list[Sample]],
    where: tuple[str, str],
    run: PipelineRun,
    job: JobRun,
    options: RunOptions,
) -> None:
    """Add the state of one job of the newest run of a ref."""
    labels = (*where, job.stage, job.name, run.ref, run.ref_kind.value)
    for status, value in _states(job.status, options.dense):
        samples[JOB_STATUS].append(Sample((*labels, status), value))
    samples[JOB_LAST_ID].append(Sample(labels, float(job.job_id)))
    _add_known(samples[JOB_LAST_DURATION], labels, job.duration_seconds)
    _add_known(samples[JOB_LAST_QUEUE], labels, job.queue_seconds)
    _add_known(samples[JOB_LAST_FINISHED], labels, job.finished_at)


def _states(current: Status, dense: bool) -> Iterator[tuple[str, float]]:
    """The status samples of one ref: the current one as 1, and the others as 0 if *dense*."""
    if not dense:
        yield current.value, 1.0
        return
    for status in Status:
        yield status.value, float(status is current)


def _add_known(into: list[Sample], labels: tuple[str, ...], value: float | datetime | None) -> None:
    """Append *value* unless it is unknown; instants become Unix seconds."""
    if value is not None:
        into.append(Sample(labels, timestamp(value) if isinstance(value, datetime) else value))


def _add_zeros(into: list[Sample]) -> None:
    """Show every finished status of a pipeline that has any, at 0 where none was counted.

    A counter that first appears at 1 shows no increase to ``rate()``: without the zero, the first
    failure of a pipeline would never alert.
    """
    seen = {sample.labels for sample in into}
    for labels in sorted({labels[:-1] for labels in seen}):
        into.extend(
            Sample((*labels, status.value), 0.0) for status in FINISHED if (*labels, status.value) not in seen
        )
    into.sort(key=lambda sample: sample.labels)
