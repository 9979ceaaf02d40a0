"""How pipelines and jobs live: created, queued, run, retried, played, canceled, deleted."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from random import Random
from typing import Any

from collectors._standin.times import HOUR, SECOND, Timeline
from collectors.gitlab.standin import history, testreports
from collectors.gitlab.standin.composite import composite, latest, transition, union_seconds
from collectors.gitlab.standin.deployments import Deployments
from collectors.gitlab.standin.diary import Diary
from collectors.gitlab.standin.fleet import Fleet
from collectors.gitlab.standin.records import (
    COMPLETED,
    FollowUp,
    Job,
    Pipeline,
    Plan,
    Project,
    User,
)
from collectors.gitlab.standin.truth import Ledger

_WAITING = ("created", "waiting_for_resource", "preparing", "waiting_for_callback", "pending", "scheduled")
_ASK_EVERY = 2 * SECOND
_STUCK = HOUR


class Engine:
    """The rules of GitLab CI, driven by a timeline; every ended execution goes to the ledger."""

    def __init__(
        self, timeline: Timeline, ledger: Ledger, chance: Random, fleet: Fleet, diary: Diary
    ) -> None:
        self.timeline = timeline
        self.diary = diary
        self.ledger = ledger
        self.chance = chance
        self.fleet = fleet
        self.deployments = Deployments(timeline)
        self.pipelines: dict[int, Pipeline] = {}
        self.projects: dict[int, Project] = {}
        self.pipeline_ids = itertools.count(1_001)
        self.job_ids = itertools.count(1)
        self.tell: Callable[[str, Any], None] = lambda _kind, _about: None  # whom webhooks are for

    def create(
        self,
        project: Project,
        ref: str,
        plan: Plan,
        *,
        source: str,
        user: User,
        tag: bool = False,
        bridge: Job | None = None,
    ) -> Pipeline:
        """A new pipeline, ``created`` now; it starts moving within a second."""
        now = self.timeline.now
        number = next(self.pipeline_ids)
        pipeline = Pipeline(number, project.next_iid, project, ref, tag, source, now, now, user, number)
        pipeline.follow_ups, pipeline.yaml_errors = plan.follow_ups, plan.yaml_errors
        pipeline.bridge = bridge
        if bridge is not None and pipeline.is_child:
            pipeline.parent, pipeline.sha_key = bridge.pipeline, bridge.pipeline.sha_key
        pipeline.jobs = [Job(next(self.job_ids), pipeline, job, now) for job in plan.jobs]
        project.next_iid += 1
        project.pipelines[number] = self.pipelines[number] = pipeline
        self._touch(pipeline)
        if source == "push":
            self.diary.pushed(pipeline)
            self.tell("push", pipeline)
        self._plan_follow_ups(pipeline, "created")
        self.timeline.after(self.chance.randrange(200, 900), partial(self._begin, pipeline, plan))
        return pipeline

    def _begin(self, pipeline: Pipeline, plan: Plan) -> None:
        if pipeline.deleted or pipeline.status != "created":
            return
        if plan.script:
            self._follow_script(pipeline, plan.script)
        elif not pipeline.jobs:
            self.move(pipeline, "failed" if pipeline.yaml_errors else "skipped")
        else:
            self._process(pipeline)

    def _follow_script(self, pipeline: Pipeline, script: tuple[tuple[str, int], ...]) -> None:
        if pipeline.deleted or not script:
            return
        status, milliseconds = script[0]
        self.move(pipeline, status)
        self.timeline.after(milliseconds, partial(self._follow_script, pipeline, script[1:]))

    def _touch(self, pipeline: Pipeline) -> None:
        pipeline.updated_at = self.timeline.now
        order = pipeline.project.by_update
        order.pop(pipeline.id, None)
        order[pipeline.id] = pipeline

    def move(self, pipeline: Pipeline, status: str) -> None:
        """Change its status, with the times that GitLab changes along."""
        if status == pipeline.status:
            return
        now = self.timeline.now
        pipeline.status = status
        if status == "running" and pipeline.started_at is None:
            pipeline.started_at = now
        if status in ("success", "failed", "canceled"):
            pipeline.finished_at = now
        if status in ("success", "failed", "canceled", "manual") and pipeline.started_at is not None:
            pipeline.duration = self._duration(pipeline)
        self._touch(pipeline)
        if status in COMPLETED:
            self._completed(pipeline)
        self.tell("pipeline", pipeline)

    def _duration(self, pipeline: Pipeline) -> int:
        now = self.timeline.now
        if pipeline.jobs:
            return union_seconds(pipeline, now)
        return (now - (pipeline.started_at or now)) // 1000

    def _completed(self, pipeline: Pipeline) -> None:
        measured = [job.plan.coverage for job in latest(pipeline) if job.plan.coverage is not None]
        pipeline.coverage = sum(measured) / len(measured) if measured else pipeline.coverage
        self.ledger.pipeline(pipeline, self.timeline.now)
        self.ledger.test_reports.append(testreports.truth(pipeline, self.timeline.now))
        self._plan_follow_ups(pipeline, "finished")
        bridge = pipeline.bridge
        if bridge and bridge.plan.bridge and bridge.plan.bridge.depend and bridge.status == "running":
            self._end_job(bridge, "success" if pipeline.status in ("success", "skipped") else "failed")

    def _plan_follow_ups(self, pipeline: Pipeline, after: str) -> None:
        due = tuple(follow for follow in pipeline.follow_ups if follow.after == after)
        pipeline.follow_ups = tuple(follow for follow in pipeline.follow_ups if follow.after != after)
        for follow in due:
            self.timeline.after(follow.delay, partial(self._follow, pipeline, follow))

    def _follow(self, pipeline: Pipeline, follow: FollowUp) -> None:
        if pipeline.deleted:
            return
        if follow.action == "retry":
            self.retry(pipeline)
        elif follow.action == "play":
            self.play_all(pipeline)
        elif follow.action == "cancel":
            self.cancel(pipeline)
        elif follow.action == "delete":
            self.delete(pipeline)

    def _process(self, pipeline: Pipeline) -> None:
        """Let jobs of every stage begin, or be skipped, whose earlier stages are done."""
        jobs = sorted(latest(pipeline), key=lambda job: job.plan.level)
        for level, members in itertools.groupby(jobs, key=attrgetter("plan.level")):
            before = composite(job for job in jobs if job.plan.level < level) or "success"
            if before not in COMPLETED:
                break
            for job in members:
                if job.status == "created":
                    self._admit(job, before)
        self._refresh(pipeline)

    def _refresh(self, pipeline: Pipeline) -> None:
        status = transition(pipeline, composite(latest(pipeline)))
        if status is not None:
            self.move(pipeline, status)

    def _admit(self, job: Job, before: str) -> None:
        if before not in ("success", "skipped") and job.plan.when != "always":
            job.status = "skipped"
            self.ledger.job(job, self.timeline.now)
            self.deployments.follow(job, "skipped")
            self._tell(job)
        elif job.plan.when == "manual" and not job.played:
            job.status = "manual"
            self.deployments.follow(job, "created")
        else:
            self._prelude(job, 0)

    def _tell(self, job: Job) -> None:
        if not job.is_bridge:
            self.tell("job", job)

    def _later(self, job: Job, delay: int, action: Callable[[Job], None]) -> None:
        version = job.version

        def act() -> None:
            if job.version == version and not job.pipeline.deleted:
                action(job)

        self.timeline.after(delay, act)

    def _prelude(self, job: Job, step: int) -> None:
        if step >= len(job.plan.prelude) or job.attempt:
            self._pend(job)
            return
        job.status, delay = job.plan.prelude[step]
        self._later(job, delay, lambda job: self._prelude(job, step + 1))
        self._refresh(job.pipeline)

    def _pend(self, job: Job) -> None:
        job.status, job.queued_at = "pending", self.timeline.now
        self.deployments.follow(job, "created")
        if not job.is_bridge:
            self.fleet.active[job.id] = job
        self._tell(job)
        delay = 300 if job.is_bridge else job.plan.attempt(job.attempt).queue
        self._later(job, delay, self._run)
        self._refresh(job.pipeline)

    def _run(self, job: Job) -> None:
        if not job.is_bridge and not self.fleet.give(job):
            self._wait_on(job)
            return
        job.status, job.started_at = "running", self.timeline.now
        self.deployments.follow(job, "running")
        self._tell(job)
        if job.is_bridge:
            self._trigger(job)
        else:
            self._later(job, job.plan.attempt(job.attempt).run, self._end)
        self._refresh(job.pipeline)

    def _wait_on(self, job: Job) -> None:
        """Wait for a free runner; after an hour in vain, GitLab drops what none would take."""
        waited = self.timeline.now - (job.queued_at or 0)
        if waited >= _STUCK and self.fleet.stuck(job):
            self._end_job(job, "failed", "stuck_or_timeout_failure")
        else:
            self._later(job, _ASK_EVERY, self._run)

    def _trigger(self, job: Job) -> None:
        upstream, plan = job.pipeline, job.plan.bridge
        assert plan is not None  # noqa: S101
        target = self.projects.get(plan.project_id) if plan.project_id else upstream.project
        if target is None or target.deleted:
            self._later(
                job,
                100,
                partial(self._end_job, status="failed", reason="downstream_bridge_project_not_found"),
            )
            return
        child = target is upstream.project
        job.downstream = self.create(
            target,
            upstream.ref if child else target.default_branch,
            Plan(plan.jobs),
            source="parent_pipeline" if child else "pipeline",
            user=upstream.user,
            tag=upstream.tag and child,
            bridge=job,
        )
        if not plan.depend:
            self._later(job, 400, partial(self._end_job, status="success"))

    def _end(self, job: Job) -> None:
        attempt = job.plan.attempt(job.attempt)
        again = (
            attempt.outcome == "failed" and job.plan.auto_retry and job.attempt + 1 < len(job.plan.attempts)
        )
        self._end_job(job, attempt.outcome, attempt.reason, again)

    def _end_job(self, job: Job, status: str, reason: str = "", again: bool = False) -> None:
        self._finish(job, status, reason)
        if again:
            self._clone(job)
        self._process(job.pipeline)

    def _finish(self, job: Job, status: str, reason: str = "") -> None:
        job.status, job.finished_at = status, self.timeline.now
        job.failure_reason = (reason or "script_failure") if status == "failed" else ""
        job.version += 1
        self.fleet.active.pop(job.id, None)
        self.ledger.job(job, self.timeline.now)
        self.deployments.follow(job, status)
        self._tell(job)

    def _clone(self, job: Job) -> Job:
        """A new job of the same name; the old one stays, hidden as retried."""
        pipeline = job.pipeline
        new = Job(next(self.job_ids), pipeline, job.plan, self.timeline.now, attempt=job.attempt + 1)
        new.played = job.played
        job.retried = True
        jobs = self.thaw(pipeline)
        jobs.append(new)
        self._tell(new)
        return new

    def thaw(self, pipeline: Pipeline) -> list[Job]:
        """Its jobs as objects that may change; those of history are made, and their truth written down."""
        if pipeline.jobs is None:
            self.ledger.entries.extend(history.executions_of(pipeline))
            pipeline.jobs = history.jobs_of(pipeline)
            for job in pipeline.jobs:
                job.execution = 1
        return pipeline.jobs

    def retry(self, pipeline: Pipeline) -> bool:
        """Run again what failed or was canceled, in the same pipeline; false when there is nothing."""
        self.thaw(pipeline)
        bad = [job for job in latest(pipeline) if job.status in ("failed", "canceled")]
        if not bad or pipeline.status not in COMPLETED:
            return False
        for job in bad:
            self._clone(job)
        self._reset_skipped(pipeline)
        self._process(pipeline)
        return True

    def _reset_skipped(self, pipeline: Pipeline) -> None:
        for job in latest(pipeline):
            if job.status == "skipped":
                job.status = "created"
                job.version += 1

    def retry_job(self, job: Job) -> Job | None:
        """Run one ended job again under a new id; ``None`` while it has not ended."""
        if job.retried or job.status not in ("success", "failed", "canceled"):
            return None
        new = self._clone(job)
        self._reset_skipped(job.pipeline)
        self._process(job.pipeline)
        return new

    def play_all(self, pipeline: Pipeline) -> None:
        """Start every manual job that waits."""
        for job in [job for job in latest(pipeline) if job.status == "manual"]:
            self.play(job)

    def play(self, job: Job) -> bool:
        """Start a manual or delayed job now; false for any other."""
        if job.status not in ("manual", "scheduled"):
            return False
        job.played = True
        job.version += 1
        self._pend(job)
        self._reset_skipped(job.pipeline)
        return True

    def cancel(self, pipeline: Pipeline) -> bool:
        """Cancel what has not ended, children too; running jobs are ``canceling`` for some seconds."""
        if pipeline.status in COMPLETED:
            return False
        for job in latest(pipeline):
            if job.status in _WAITING:
                self._finish(job, "canceled")
            elif job.status == "running":
                self._cancel_running(job)
        if pipeline.jobs:
            self._refresh(pipeline)
        else:
            self.move(pipeline, "canceled")
        return True

    def _cancel_running(self, job: Job) -> None:
        job.status = "canceling"
        job.version += 1
        self._later(job, self.chance.randrange(1_500, 5_000), partial(self._end_job, status="canceled"))
        if job.downstream and job.downstream.is_child:
            self.cancel(job.downstream)

    def delete(self, pipeline: Pipeline) -> None:
        """Make it vanish from lists and details, with its children; nothing of it ends any more."""
        pipeline.deleted = True
        self.deployments.forget_jobs(pipeline)
        self.ledger.deleted_pipelines[pipeline.id] = self.timeline.now
        self.pipelines.pop(pipeline.id, None)
        pipeline.project.pipelines.pop(pipeline.id, None)
        pipeline.project.by_update.pop(pipeline.id, None)
        for job in pipeline.jobs or ():
            self.fleet.active.pop(job.id, None)
            if job.downstream and job.downstream.is_child and not job.downstream.deleted:
                self.delete(job.downstream)
        if pipeline.child and not pipeline.child.deleted:
            self.delete(pipeline.child)
