"""What the simulated GitLab holds; every time is an integer of milliseconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from collectors._standin.times import iso

COMPLETED = frozenset({"success", "failed", "canceled", "skipped"})
KNOWN_STATUSES = COMPLETED | {
    "created",
    "waiting_for_resource",
    "preparing",
    "waiting_for_callback",
    "pending",
    "running",
    "canceling",
    "manual",
    "scheduled",
}
_SHA_STEP = 0x9E3779B97F4A7C15F39CC0605CEDC8341082276B


def sha_of(key: int) -> str:
    """40 hex digits that stand for commit number *key*."""
    return f"{(key + 1) * _SHA_STEP % (1 << 160):040x}"


class User(NamedTuple):
    """Somebody who pushes."""

    id: int
    username: str


class RunnerName(NamedTuple):
    """Which runner took a job, as the job remembers it."""

    id: int
    description: str
    runner_type: str


FIRST_PROJECT = 101
APPROVED = "approved this merge request"
USERS = tuple(User(n, name) for n, name in enumerate(("ada", "bela", "cato", "dora", "emil", "fina"), 1))
# The first four runners of every world that has as many; they executed all of history.
RUNNERS = (
    RunnerName(1, "shared-1", "instance_type"),
    RunnerName(2, "shared-2", "instance_type"),
    RunnerName(3, "group-large", "group_type"),
    RunnerName(4, "project-arm", "project_type"),
)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A group or a user's own space; ``path`` is the full one. ``parent_id`` is ``None`` at the top."""

    id: int
    kind: str
    path: str
    parent_id: int | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """One thing said about a merge request; ``system`` is what GitLab itself says, approvals too."""

    id: int
    author: User
    body: str
    created_at: int
    system: bool = False

    @property
    def approves(self) -> bool:
        """Whether it tells of an approval."""
        return self.system and self.body == APPROVED


@dataclass(slots=True, eq=False)
class MergeRequest:
    """Identity: ``iid`` within its project. ``done_at`` is ``None`` while open.

    ``closings`` is whenever it was closed.
    """

    id: int
    iid: int
    source_branch: str
    target_branch: str
    author: User
    created_at: int
    updated_at: int
    state: str = "opened"
    done_at: int | None = None
    draft: bool = False
    notes: list[Note] = field(default_factory=list)
    closings: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class JobTests:
    """What a job's tests come to; ``failed`` and ``error`` are names. ``broken`` is why none can read it."""

    success: int = 0
    failed: tuple[str, ...] = ()
    error: tuple[str, ...] = ()
    skipped: int = 0
    seconds: float = 1.0
    broken: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a job: milliseconds it waits and runs, and how it ends.

    ``tests`` are what it reports, ``None`` for what jobs of its name usually do.
    """

    queue: int = 1_000
    run: int = 30_000
    outcome: str = "success"
    reason: str = ""
    tests: JobTests | None = None


@dataclass(frozen=True, slots=True)
class BridgePlan:
    """What a trigger job starts; ``project_id`` is ``None`` for a child in the same project."""

    jobs: tuple[JobPlan, ...]
    project_id: int | None = None
    depend: bool = False


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What will become of a job; ``attempts`` beyond the first are its retries.

    ``environment`` is where it deploys to; without one its name says whether and where.
    """

    name: str
    stage: str
    level: int = 0
    attempts: tuple[Attempt, ...] = (Attempt(),)
    auto_retry: bool = False
    allow_failure: bool = False
    when: str = "on_success"
    prelude: tuple[tuple[str, int], ...] = ()
    coverage: float | None = None
    tags: tuple[str, ...] = ()
    bridge: BridgePlan | None = None
    environment: str = ""

    def attempt(self, number: int) -> Attempt:
        """The plan of try *number*, from 0; the last one repeats."""
        return self.attempts[min(number, len(self.attempts) - 1)]


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What somebody does to a pipeline ``delay`` milliseconds after it was created or finished."""

    action: str
    after: str
    delay: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What will become of a pipeline; a ``script`` of (status, milliseconds) replaces jobs."""

    jobs: tuple[JobPlan, ...] = ()
    follow_ups: tuple[FollowUp, ...] = ()
    yaml_errors: str | None = None
    script: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True, eq=False)
class Job:
    """One job; ``version`` grows whenever somebody interferes, so that events planned before are void."""

    id: int
    pipeline: Pipeline
    plan: JobPlan
    created_at: int
    status: str = "created"
    attempt: int = 0
    execution: int = 0
    version: int = 0
    queued_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    erased_at: int | None = None
    failure_reason: str = ""
    retried: bool = False
    played: bool = False
    runner: RunnerName | None = None
    manager_id: int | None = None
    downstream: Pipeline | None = None

    @property
    def is_bridge(self) -> bool:
        """Whether it triggers another pipeline instead of running."""
        return self.plan.bridge is not None


@dataclass(slots=True, eq=False)
class Pipeline:
    """One GitLab pipeline; ``jobs`` is ``None`` for history, whose jobs are computed when asked for."""

    id: int
    iid: int
    project: Project
    ref: str
    tag: bool
    source: str
    created_at: int
    updated_at: int
    user: User
    sha_key: int
    status: str = "created"
    started_at: int | None = None
    finished_at: int | None = None
    duration: int | None = None
    coverage: float | None = None
    yaml_errors: str | None = None
    jobs: list[Job] | None = None
    bridge: Job | None = None
    parent: Pipeline | None = None
    child: Pipeline | None = None
    follow_ups: tuple[FollowUp, ...] = ()
    execution: int = 0
    shape: int = 0
    deleted: bool = False

    @property
    def ref_kind(self) -> str:
        """``branch``, ``tag`` or ``change_request``."""
        if self.tag:
            return "tag"
        return "change_request" if self.ref.startswith("refs/merge-requests/") else "branch"

    @property
    def is_child(self) -> bool:
        """Whether plain lists hide it."""
        return self.source == "parent_pipeline"


@dataclass(slots=True, eq=False)
class Project:
    """Identity: ``id``; the path may change. ``by_update`` holds its pipelines, last touched last."""

    id: int
    namespace: Namespace
    slug: str
    created_at: int
    default_branch: str = "main"
    archived: bool = False
    ci_enabled: bool = True
    deleted: bool = False
    branches: dict[str, int] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    merge_requests: dict[int, MergeRequest] = field(default_factory=dict)
    pipelines: dict[int, Pipeline] = field(default_factory=dict)
    by_update: dict[int, Pipeline] = field(default_factory=dict)
    first_path: str = ""
    next_iid: int = 1
    activity_at: int = 0
    switched_off: set[str] = field(default_factory=set)

    @property
    def path(self) -> str:
        """The full path as of now."""
        return f"{self.namespace.path}/{self.slug}"

    @property
    def empty(self) -> bool:
        """Whether nothing was ever pushed."""
        return not self.branches

    def first_commit(self, ref: str) -> int:
        """The number of the commit that a ref had before any pipeline ran for it."""
        return self.id * 1_000_003 + len(ref)

    def _first(self, ref: str, created_at: int) -> tuple[int, int]:
        """When that was made, a second before the ref was, and its number."""
        return created_at - 1_000, self.first_commit(ref)

    def head(self, ref: str) -> tuple[int, int]:
        """When the newest commit of a branch was made, and its number: that of its newest pipeline."""
        newest = max((one for one in self.pipelines.values() if _pushed(one, ref)), key=_id, default=None)
        if newest is None:
            return self._first(ref, self.branches[ref])
        return newest.created_at, newest.sha_key

    def line(self) -> list[tuple[int, int]]:
        """When each commit of the default branch was made, and its number; the oldest first."""
        main = self.default_branch
        ran = [one for one in self.pipelines.values() if _pushed(one, main)]
        first = self._first(main, self.branches.get(main, self.created_at))
        return [first, *sorted((one.created_at, one.sha_key) for one in ran)]

    def commits(self) -> dict[str, tuple[int, int]]:
        """The same of every commit there is, by its sha."""
        found = {sha_of(key): (at, key) for at, key in self.line()}
        for refs in (self.branches, self.tags):
            found |= {sha_of(self.first_commit(name)): self._first(name, at) for name, at in refs.items()}
        return found | {sha_of(one.sha_key): (one.created_at, one.sha_key) for one in self.pipelines.values()}


def _pushed(pipeline: Pipeline, ref: str) -> bool:
    return pipeline.ref == ref and not pipeline.tag and not pipeline.is_child


def _id(pipeline: Pipeline) -> int:
    return pipeline.id


@dataclass(frozen=True, slots=True)
class Execution:
    """One finished execution of a pipeline or job, as GitLab showed it at that moment.

    Identity: (``kind``, ``pipeline_id`` or ``job_id``, ``execution``). ``finished_at`` is ``None`` when
    skipped, ``started_at`` and ``queue_seconds`` when it never ran. ``project`` is the path at that time.
    ``runner_type`` is empty when no runner took it.
    """

    kind: str
    project_id: int
    project: str
    pipeline_id: int
    execution: int
    ref: str
    ref_kind: str
    source: str
    status: str
    created_at: int
    started_at: int | None
    finished_at: int | None
    duration_seconds: float | None
    queue_seconds: float | None
    recorded_at: int
    job_id: int | None = None
    stage: str = ""
    name: str = ""
    failure_reason: str = ""
    allow_failure: bool = False
    runner_type: str = ""

    def as_json(self) -> dict[str, Any]:
        """The same with times as ISO 8601 in UTC."""
        plain = {name: getattr(self, name) for name in _EXECUTION_FIELDS}
        for key in ("created_at", "started_at", "finished_at", "recorded_at"):
            plain[key] = iso(plain[key])
        return plain


_EXECUTION_FIELDS = tuple(known.name for known in fields(Execution))
