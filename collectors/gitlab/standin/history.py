"""Finished pipelines from before the world began to move; their jobs are computed, not kept."""

from __future__ import annotations

from random import Random

from collectors._standin.times import dice
from collectors.gitlab.standin.records import (
    COMPLETED,
    FIRST_PROJECT,
    RUNNERS,
    USERS,
    Attempt,
    BridgePlan,
    Execution,
    Job,
    JobPlan,
    Pipeline,
    Project,
    RunnerName,
)
from collectors.gitlab.standin.truth import job_execution, pipeline_execution

JOBS_PER_PIPELINE = 16
_STAGES = ("build", "test", "deploy")
_NAMES = {"build": ("compile",), "test": ("unit", "lint", "integration"), "deploy": ("deploy",)}
_GAP = 2_000
_USERNAMES = frozenset(user.username for user in USERS)
_STATUSES = ("success",) * 74 + ("failed",) * 17 + ("canceled",) * 5 + ("skipped",) * 2 + ("never",) * 2
_REASONS = ("script_failure", "script_failure", "runner_system_failure", "job_execution_timeout")


def finished(
    number: int, project: Project, created: int, end: int, ref: tuple[str, bool, str], chance: Random
) -> Pipeline:
    """A pipeline made at *created* that ended before *end*; *ref* is name, whether a tag, and source."""
    status = chance.choice(_STATUSES)
    name, tag, source = ref
    user = USERS[number % len(USERS)]
    shape = chance.getrandbits(30)
    pipeline = Pipeline(number, project.next_iid, project, name, tag, source, created, created, user, number)
    project.next_iid += 1
    pipeline.status = "canceled" if status == "never" else status
    pipeline.execution, pipeline.shape = 1, shape
    if status == "never":
        pipeline.finished_at = created + 5_000
    elif status != "skipped":
        _run(pipeline, end, chance)
    pipeline.updated_at = pipeline.finished_at or created + 500
    return pipeline


def _run(pipeline: Pipeline, end: int, chance: Random) -> None:
    queue = int(min(60_000, chance.expovariate(1 / 4_000))) + 200
    length = int(min(3_600_000, chance.lognormvariate(12.0, 0.7))) + 20_000
    stages = _stages_run(pipeline)
    pipeline.started_at = pipeline.created_at + queue
    pipeline.finished_at = max(pipeline.started_at + 15_000, min(pipeline.started_at + length, end - 1_000))
    span = pipeline.finished_at - pipeline.started_at
    pipeline.duration = (span - _GAP * (stages - 1)) // 1000
    if pipeline.shape % 3 == 0 and pipeline.status == "success":
        pipeline.coverage = 60 + pipeline.shape % 390 / 10


def _stages_run(pipeline: Pipeline) -> int:
    """How many stages ran at all."""
    return 3 if pipeline.status == "success" else 1 + pipeline.shape % 3


def with_child(parent: Pipeline, number: int, end: int, chance: Random) -> Pipeline:
    """A child pipeline of *parent*, begun with its last stage."""
    created = max(parent.created_at + 1_000, (parent.finished_at or 0) - 10_000)
    child = finished(
        number,
        parent.project,
        created,
        max(end, created + 30_000),
        (parent.ref, parent.tag, "parent_pipeline"),
        chance,
    )
    child.user, child.sha_key, child.parent = parent.user, parent.sha_key, parent
    parent.child = child
    return child


def jobs_of(pipeline: Pipeline) -> list[Job]:
    """All its jobs by id, retried ones included; those of history are made anew on each call."""
    if pipeline.jobs is not None:
        return pipeline.jobs
    if pipeline.status == "skipped":
        return []
    jobs: list[Job] = []
    chance = dice(pipeline.shape)
    stages = _stages_run(pipeline) if pipeline.started_at else 0
    started = pipeline.started_at or pipeline.created_at
    ended = pipeline.finished_at or started
    each = (ended - started - _GAP * max(0, stages - 1)) // max(1, stages)
    for level, stage in enumerate(_STAGES):
        begin = started + level * (each + _GAP)
        until = ended if level == stages - 1 else begin + each
        for place, name in enumerate(_NAMES[stage]):
            _add_job(jobs, pipeline, (name, stage, level), chance)
            if level < stages:
                _fill(jobs[-1], begin, until, place, chance)
            else:
                _never_ran(jobs[-1])
        if level == stages - 1 and pipeline.status in ("failed", "canceled"):
            _spoil(jobs, level, pipeline, chance)
    _retry_some(jobs, chance)
    _add_bridge(jobs, pipeline)
    return jobs


def _add_job(jobs: list[Job], pipeline: Pipeline, where: tuple[str, str, int], chance: Random) -> None:
    name, stage, level = where
    coverage = pipeline.coverage if name == "unit" else None
    plan = JobPlan(name, stage, level, (Attempt(),), allow_failure=name == "lint", coverage=coverage)
    number = pipeline.id * JOBS_PER_PIPELINE + len(jobs)
    job = Job(number, pipeline, plan, pipeline.created_at, "success", execution=1)
    job.runner = _runner(pipeline.project, chance.randrange(len(RUNNERS)))
    jobs.append(job)


def _runner(project: Project, number: int) -> RunnerName:
    """One that reaches *project* as it was then; the group's and the project's one serve not all."""
    chosen = RUNNERS[number]
    personal = project.first_path.partition("/")[0] in _USERNAMES
    if chosen.runner_type == "group_type" and personal:
        return RUNNERS[0]
    if chosen.runner_type == "project_type" and project.id != FIRST_PROJECT:
        return RUNNERS[1]
    return chosen


def _fill(job: Job, begin: int, until: int, place: int, chance: Random) -> None:
    """The first job of a stage spans it whole, so that the union of all is the pipeline's duration."""
    late = 0 if place == 0 else chance.randrange(max(1, (until - begin) // 4))
    early = 0 if place == 0 else chance.randrange(max(1, (until - begin) // 4))
    job.started_at, job.finished_at = begin + late, until - early
    job.queued_at = max(job.created_at, begin - chance.randrange(200, _GAP))


def _never_ran(job: Job) -> None:
    job.runner = None
    if job.pipeline.status == "canceled":
        job.status, job.finished_at = "canceled", job.pipeline.finished_at
    else:
        job.status = "skipped"


def _spoil(jobs: list[Job], level: int, pipeline: Pipeline, chance: Random) -> None:
    job = next(job for job in jobs if job.plan.level == level)
    job.status = pipeline.status
    if job.status == "failed":
        job.failure_reason = chance.choice(_REASONS)


def _retry_some(jobs: list[Job], chance: Random) -> None:
    """Now and then a test failed first: an older execution that only ``include_retried`` shows.

    Never the first job of a stage, which alone keeps the union of all jobs whole.
    """
    at = next(
        (n for n, job in enumerate(jobs) if job.plan.name == "integration" and job.status == "success"), None
    )
    if at is None or chance.random() > 0.08:
        return
    victim = jobs.pop(at)
    middle = ((victim.started_at or 0) + (victim.finished_at or 0)) // 2
    first = Job(
        victim.id, victim.pipeline, victim.plan, victim.created_at, "failed", execution=1, retried=True
    )
    first.queued_at, first.started_at = victim.queued_at, victim.started_at
    first.finished_at = max(middle - 1_000, victim.started_at or 0)
    first.failure_reason, first.runner = "script_failure", victim.runner
    jobs.insert(at, first)
    victim.id = victim.pipeline.id * JOBS_PER_PIPELINE + len(jobs)
    victim.created_at = victim.queued_at = max(middle - 900, first.finished_at)
    victim.started_at, victim.attempt = max(middle, victim.created_at), 1
    jobs.append(victim)


def _add_bridge(jobs: list[Job], pipeline: Pipeline) -> None:
    child = pipeline.child
    if child is None:
        return
    plan = JobPlan("trigger-child", "deploy", 2, bridge=BridgePlan(()))
    number = pipeline.id * JOBS_PER_PIPELINE + len(jobs)
    bridge = Job(number, pipeline, plan, pipeline.created_at, "success", execution=1, downstream=child)
    bridge.queued_at = bridge.started_at = child.created_at - 500
    bridge.finished_at = child.created_at
    child.bridge = bridge
    jobs.append(bridge)


def executions_of(pipeline: Pipeline, *, jobs: bool = True) -> list[Execution]:
    """The truth about a pipeline of history and, unless not wanted, its *jobs*."""
    path = pipeline.project.first_path
    entries = [
        job_execution(job, job.finished_at or pipeline.updated_at, path)
        for job in (jobs_of(pipeline) if jobs else ())
        if job.status in COMPLETED
    ]
    return [*entries, pipeline_execution(pipeline, pipeline.updated_at, path)]
