"""What the jobs of the simulated GitLab deploy, and where to."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from collectors._standin.times import Timeline, iso
from collectors.gitlab.standin import history
from collectors.gitlab.standin.records import Job, Pipeline, Project, sha_of

ENDED = ("success", "failed", "canceled")
_DEPLOYING = ("deploy", "rollout", "release")
# Source: GitLab, app/models/environment.rb, `guess_tier`.
_TIERS = (
    (re.compile(r"(dev|review|trunk)", re.I), "development"),
    (re.compile(r"(test|tst|int|acc|qa|qc|control|quality)", re.I), "testing"),
    (re.compile(r"(st(a|)g|mod(e|)l|pre|demo|non)", re.I), "staging"),
    (re.compile(r"(pr(o|)d|live)", re.I), "production"),
)


@dataclass(slots=True, eq=False)
class Environment:
    """Identity: ``name`` within its project."""

    id: int
    project: Project
    name: str
    created_at: int
    updated_at: int
    state: str = "available"

    @property
    def tier(self) -> str:
        """What GitLab takes it to be for, by its name."""
        return next((tier for pattern, tier in _TIERS if pattern.search(self.name)), "other")


@dataclass(slots=True, eq=False)
class Deployment:
    """One try to deploy; ``job`` is ``None`` when it was made over the API, or its job is gone.

    Those of history have the ids of their pipelines. ``ends`` are its ends: status and time.
    """

    id: int
    iid: int
    environment: Environment
    ref: str
    tag: bool
    sha_key: int
    committed_at: int
    user_id: int
    created_at: int
    updated_at: int
    status: str = "created"
    job: Job | None = None
    ends: list[tuple[str, int]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The truth about it."""
        return {
            "id": self.id,
            "project_id": self.environment.project.id,
            "project": self.environment.project.path,
            "environment": self.environment.name,
            "tier": self.environment.tier,
            "status": self.status,
            "sha": sha_of(self.sha_key),
            "created_at": iso(self.created_at),
            "committed_at": iso(self.committed_at),
            "ends": [{"status": status, "at": iso(at)} for status, at in self.ends],
        }


def environment_name(job: Job) -> str:
    """Where *job* deploys to; empty if it does not deploy."""
    pipeline = job.pipeline
    if job.plan.environment or job.plan.name not in _DEPLOYING:
        return job.plan.environment
    if pipeline.tag or job.plan.name != "deploy":
        return "production"
    if pipeline.ref == pipeline.project.default_branch:
        return ("staging", "production")[pipeline.id % 2]
    request = re.fullmatch(r"refs/merge-requests/(\d+)/\w+", pipeline.ref)
    return f"review/mr-{request[1]}" if request else f"review/{pipeline.ref.replace('/', '-')}"


class Deployments:
    """All environments and deployments; it follows the jobs and has no chance of its own."""

    def __init__(self, timeline: Timeline) -> None:
        self.past: list[Pipeline] = []
        self.ids = itertools.count(1)
        self._timeline = timeline
        self._environment_ids = itertools.count(1)
        self._environments: dict[int, dict[str, Environment]] = {}
        self._of_project: dict[int, list[Deployment]] = {}
        self._by_job: dict[int, Deployment] = {}
        self._remembered = False
        self.tell: Callable[[Deployment], None] = lambda _one: None  # whom webhooks are for

    # -- what happens --------------------------------------------------------------------------

    def follow(self, job: Job, status: str) -> None:
        """The job goes on: its deployment, if it makes one, is in *status* now."""
        name = environment_name(job)
        if not name:
            return
        one = self._by_job.get(job.id) or self._create(job, name)
        if status != one.status:
            self._move(one, status)

    def _create(self, job: Job, name: str) -> Deployment:
        pipeline, now = job.pipeline, self._timeline.now
        where = self.environment(pipeline.project, name)
        one = self._add(Deployment(
            next(self.ids), 0, where, pipeline.ref, pipeline.tag, pipeline.sha_key, pipeline.created_at,
            pipeline.user.id, now, now, job=job,
        ))  # fmt: skip
        self._by_job[job.id] = one
        return one

    def _add(self, one: Deployment) -> Deployment:
        of_project = self._of_project.setdefault(one.environment.project.id, [])
        of_project.append(one)
        one.iid = len(of_project)
        return one

    def _move(self, one: Deployment, status: str) -> None:
        one.status, one.updated_at = status, self._timeline.now
        if status == "running":
            one.environment.state = "available"
        if status in ENDED:
            one.ends.append((status, one.updated_at))
        self.tell(one)

    def made(self, project: Project, name: str, status: str, sha_key: int, user_id: int = 1) -> Deployment:
        """A deployment that somebody tells of over the API: it has no job."""
        now = self._timeline.now
        where = self.environment(project, name)
        ref = project.default_branch
        one = self._add(Deployment(next(self.ids), 0, where, ref, False, sha_key, now, user_id, now, now))
        self._move(one, status)
        return one

    def forget_jobs(self, pipeline: Pipeline) -> None:
        """The jobs of *pipeline* are deleted: what they deployed stays, what was under way is canceled."""
        for job in pipeline.jobs or ():
            if (one := self._by_job.get(job.id)) is not None:
                one.job = None
                if one.status not in (*ENDED, "skipped"):
                    self._move(one, "canceled")

    def environment(self, project: Project, name: str) -> Environment:
        """The environment of that name, made when there is none."""
        known = self._environments.setdefault(project.id, {})
        if name not in known:
            now = self._timeline.now
            known[name] = Environment(next(self._environment_ids), project, name, now, now)
        return known[name]

    def stop(self, project: Project, name: str) -> bool:
        """Take an environment down; false if there is none."""
        one = self._environments.get(project.id, {}).get(name)
        if one is None:
            return False
        one.state, one.updated_at = "stopped", self._timeline.now
        return True

    # -- what there is -------------------------------------------------------------------------

    def environments(self, project: Project) -> list[Environment]:
        """Those of a project, stopped ones too, by id."""
        self._remember()
        return sorted(self._environments.get(project.id, {}).values(), key=lambda one: one.id)

    def of_project(self, project: Project) -> list[Deployment]:
        """The deployments of a project, in no order."""
        self._remember()
        return self._of_project.get(project.id, [])

    def truth(self) -> Iterator[Deployment]:
        """Every deployment, those of deleted projects too."""
        self._remember()
        return itertools.chain(*self._of_project.values())

    def _remember(self) -> None:
        """Make those of history, once somebody asks: making all of its jobs takes a while."""
        if self._remembered:
            return
        self._remembered = True
        for pipeline in self.past:
            for job in _original_jobs(pipeline):
                if environment_name(job) and job.id not in self._by_job and job.status in (*ENDED, "skipped"):
                    self._recall(pipeline, job)

    def _recall(self, pipeline: Pipeline, job: Job) -> None:
        ended = job.finished_at or pipeline.updated_at
        where = self.environment(pipeline.project, environment_name(job))
        where.created_at = where.updated_at = min(where.created_at, pipeline.created_at)
        one = self._add(Deployment(
            pipeline.id, 0, where, pipeline.ref, pipeline.tag, pipeline.sha_key, pipeline.created_at,
            pipeline.user.id, pipeline.created_at, ended, job.status, None if pipeline.deleted else job,
        ))  # fmt: skip
        if job.status in ENDED:
            one.ends.append((job.status, ended))
        self._by_job[job.id] = one


def _original_jobs(pipeline: Pipeline) -> Iterable[Job]:
    """The jobs that *pipeline* had in history; later retries have greater ids."""
    last = (pipeline.id + 1) * history.JOBS_PER_PIPELINE
    return [job for job in history.jobs_of(pipeline) if job.id < last]
