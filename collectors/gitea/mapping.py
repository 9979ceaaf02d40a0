"""Gitea's JSON to records: its words, times and numbers, and nothing of ours trusts them before this."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from collectors import _fleet
from collectors._fleet import Runner
from collectors._values import Json
from collectors._values import instant_or_none as _instant_or_none
from collectors._values import integer as _integer
from collectors._values import json_object as _object
from collectors._values import text as _text
from collectors._values import text_or_empty as _text_or_empty
from exporter.clock import EPOCH
from exporter.contract import Unit
from exporter.errors import BadAnswer
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status

# Gitea says "waiting" for what its own page calls "blocked": it needs other jobs, an approval, or its turn.
STATUSES = {
    "queued": Status.PENDING,
    "waiting": Status.CREATED,
    "in_progress": Status.RUNNING,
}
CONCLUSIONS = {
    "success": Status.SUCCESS,
    "failure": Status.FAILED,
    "cancelled": Status.CANCELED,
    "skipped": Status.SKIPPED,
}
# Source: Gitea, modules/actions/github.go and modules/webhook/type.go.
SOURCES = frozenset(
    (
        "create",
        "delete",
        "fork",
        "gollum",
        "issue_comment",
        "issues",
        "pull_request",
        "pull_request_comment",
        "pull_request_review",
        "pull_request_review_comment",
        "pull_request_target",
        "push",
        "registry_package",
        "release",
        "schedule",
        "workflow_call",
        "workflow_dispatch",
        "workflow_run",
    )
)
# Up to Gitea 1.26 a run tells the finer event behind its trigger.
_OLD_SOURCES = {
    "issue_assign": "issues",
    "issue_label": "issues",
    "issue_milestone": "issues",
    "package": "registry_package",
    "pull_request_assign": "pull_request",
    "pull_request_label": "pull_request",
    "pull_request_milestone": "pull_request",
    "pull_request_review_approved": "pull_request_review",
    "pull_request_review_rejected": "pull_request_review",
    "pull_request_review_request": "pull_request",
    "pull_request_sync": "pull_request",
    "wiki": "gollum",
}
_NOT_STARTED = (Status.CREATED, Status.PENDING)
_REPOSITORY_URL = re.compile(r"/api/v1/repos/([^/]+/[^/]+)/actions/")
Unknown = Callable[[str], None]
Selects = Callable[[RefKind, str], bool]


@dataclass(frozen=True, slots=True)
class Run:
    """One run as Gitea tells it, of its newest attempt; it does not tell when it was created.

    ``attempt`` is 0 in versions that know no attempts: there a run that is run again is overwritten.
    ``number`` is 0 if it has none. ``created_at`` is what Forgejo tells besides, ``jobs_tell_waits`` what it
    does not.
    """

    run_id: int
    attempt: int
    has_attempts: bool
    status: Status
    pipeline: str
    ref: str
    ref_kind: RefKind
    source: str
    started_at: datetime | None
    completed_at: datetime | None
    username: str
    web_url: str
    sha: str
    title: str
    project: str
    number: int = 0
    created_at: datetime | None = None
    jobs_tell_waits: bool = True


@dataclass(frozen=True, slots=True)
class Job:
    """One job of one attempt as Gitea tells it."""

    job_id: int
    run_id: int
    attempt: int
    name: str
    status: Status
    labels: frozenset[str]
    runner_id: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    web_url: str
    project: str

    @property
    def is_copy(self) -> bool:
        """Whether it only repeats a job of an earlier attempt, which was not run again.

        Such a one is new by its id and creation, and has the times of the job that it repeats.
        """
        first = self.started_at or self.completed_at
        return first is not None and first < self.created_at

    @property
    def changed_at(self) -> datetime:
        """The newest of its times."""
        return max(time for time in (self.created_at, self.started_at, self.completed_at) if time)


def moment(value: Any) -> datetime | None:
    """*value* as a time; ``None`` for what is none, and for the zeros of Go and of Unix."""
    parsed = _instant_or_none(value)
    return None if parsed is None or parsed <= EPOCH else parsed


def unit(repository: Any) -> Unit:
    """The repository as a unit; its id is what lasts over renames."""
    entry = _object(repository, "repository")
    return Unit(
        key=str(_integer(entry, "id")),
        name=_text(entry, "full_name"),
        created_at=moment(entry.get("created_at")),
        default_branch=_text_or_empty(entry, "default_branch"),
        web_url=_text_or_empty(entry, "html_url"),
    )


def entries(body: Any, key: str) -> list[Any]:
    """The list under *key* of an answer, or that it is; null for an empty one, as Go has it."""
    found = _object(body, "answer").get(key) if key else body
    if found is None:
        return []
    if not isinstance(found, list):
        raise BadAnswer(f"{key} should be a list, got {type(found).__name__}")
    return found


def total_count(body: Any) -> int:
    """How many entries there are on all pages together; none but these if nothing tells."""
    return _integer(body, "total_count") if isinstance(body, dict) and "total_count" in body else 0


def run(value: Any, *, unknown: Unknown) -> Run:
    """One run."""
    entry = _object(value, "run")
    workflow, ref = _path(_text(entry, "path"))
    kind, name = ref_of(ref, _text_or_empty(entry, "head_branch"))
    user = entry.get("trigger_actor")
    repository = entry.get("repository")
    started_at = moment(entry.get("started_at"))
    stands = status(entry, unknown)
    return Run(
        run_id=_integer(entry, "id"),
        attempt=_integer(entry, "run_attempt"),
        has_attempts="previous_attempt_url" in entry,
        # Between two of its jobs a run waits again, to Gitea; to everybody else it began, and goes on.
        status=Status.RUNNING if started_at and stands in _NOT_STARTED else stands,
        pipeline=workflow,
        ref=name,
        ref_kind=kind,
        source=source(_text_or_empty(entry, "event"), unknown),
        started_at=started_at,
        completed_at=moment(entry.get("completed_at")),
        username=_text_or_empty(user, "login") if isinstance(user, dict) else "",
        web_url=_text_or_empty(entry, "html_url"),
        sha=_text_or_empty(entry, "head_sha"),
        title=_text_or_empty(entry, "display_title"),
        project=_text_or_empty(repository, "full_name") if isinstance(repository, dict) else "",
        number=_integer(entry, "run_number") if entry.get("run_number") is not None else 0,
    )


def job(value: Any, *, unknown: Unknown) -> Job:
    """One job."""
    entry = _object(value, "job")
    created_at = moment(entry.get("created_at"))
    if created_at is None:
        raise BadAnswer("created_at of a job should be a time with an offset from UTC")
    address = _REPOSITORY_URL.search(_text_or_empty(entry, "url"))
    return Job(
        job_id=_integer(entry, "id"),
        run_id=_integer(entry, "run_id"),
        attempt=_integer(entry, "run_attempt"),
        name=_text(entry, "name"),
        status=status(entry, unknown),
        labels=frozenset(label for label in entries(entry, "labels") if isinstance(label, str)),
        runner_id=_integer(entry, "runner_id") if entry.get("runner_id") else 0,
        created_at=created_at,
        started_at=moment(entry.get("started_at")),
        completed_at=moment(entry.get("completed_at")),
        web_url=_text_or_empty(entry, "html_url"),
        project=address[1] if address else "",
    )


def status(entry: Json, unknown: Unknown) -> Status:
    """Where a run or job stands."""
    word = _text(entry, "status")
    table: Mapping[str, Status] = STATUSES
    if word == "completed":
        word, table = _text_or_empty(entry, "conclusion"), CONCLUSIONS
    if word not in table:
        unknown("status")
        return Status.UNKNOWN
    return table[word]


def created_at(run: Run, jobs: Iterable[Job], first_seen: datetime) -> datetime:
    """When an attempt of a run was created: with all of its *jobs*, Gitea tells of no other moment.

    *first_seen* stands in for one of which no time is known.
    """
    usual = run.started_at or run.completed_at or first_seen
    return run.created_at or min((job.created_at for job in jobs), default=usual)


def record(
    run: Run, jobs: Iterable[Job], created: datetime, selects: Selects, *, first: datetime | None = None
) -> PipelineRun:
    """One attempt of a run as a record: *created* is when it was, *first* when the first attempt was.

    Gitea gives no time of change: the newest of all times, of *jobs* too, takes its place.
    """
    jobs = list(jobs)
    # Overwritten by a re-run, its jobs still have the creation of the first time.
    again = not run.has_attempts and any(job.attempt > 1 for job in jobs)
    finished_at = None
    if run.status.finished:
        ends = [job.completed_at for job in jobs if job.completed_at]
        finished_at = run.completed_at or max(ends, default=run.started_at or created)
    times = [created, *(job.changed_at for job in jobs)]
    return PipelineRun(
        run_id=run.run_id,
        ref=run.ref,
        ref_kind=run.ref_kind,
        source=run.source,
        status=run.status,
        created_at=first or created,
        updated_at=max([*times, *(time for time in (run.started_at, finished_at) if time)]),
        pipeline=run.pipeline,
        started_at=run.started_at,
        finished_at=finished_at,
        duration_seconds=_between(run.started_at, finished_at),
        queue_seconds=None if again else _between(created, run.started_at),
        username=run.username or None,
        web_url=run.web_url or None,
        sha=run.sha or None,
        commit_title=run.title or None,
        number=run.number or None,
        selected=selects(run.ref_kind, run.ref),
    )


def job_record(job: Job, queue_seconds: float | None) -> JobRun:
    """One job as a record; Gitea knows no stages, and says of no failed job why."""
    finished_at = job.completed_at if job.status.finished else None
    return JobRun(
        job_id=job.job_id,
        run_id=job.run_id,
        stage="",
        name=job.name,
        status=job.status,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=finished_at,
        duration_seconds=_between(job.started_at, finished_at),
        queue_seconds=queue_seconds,
        failure_reason="unknown" if job.status is Status.FAILED else "",
        web_url=job.web_url or None,
    )


def _between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds from *start* to *end*, 0.0 or more; ``None`` if one of them is unknown."""
    return None if start is None or end is None else max(0.0, (end - start).total_seconds())


def _path(path: str) -> tuple[str, str]:
    """``ci.yml@refs/heads/main`` as the name of the workflow's file, and the ref."""
    workflow, at, ref = path.partition("@refs/")
    return (workflow, f"refs/{ref}") if at else (workflow.partition("@")[0], "")


def ref_of(ref: str, short: str) -> tuple[RefKind, str]:
    """What sort of ref it is, and its name; *short* is its name where the whole *ref* is not known."""
    if ref.startswith("refs/pull/"):
        return RefKind.CHANGE_REQUEST, ref
    if ref.startswith("refs/tags/"):
        return RefKind.TAG, ref.removeprefix("refs/tags/")
    return RefKind.BRANCH, ref.removeprefix("refs/heads/") or short


def source(word: str, unknown: Unknown) -> str:
    """What triggered a run, of Gitea's list; ``unknown`` for anything else."""
    word = _OLD_SOURCES.get(word, word)
    if word in SOURCES:
        return word
    if word:
        unknown("source")
    return "unknown"


def name(ref: Any) -> str:
    """The name of a branch or tag."""
    return _text(_object(ref, "ref"), "name")


def pull_ref(pull: Any) -> str:
    """The ref that runs for a pull request are for."""
    return f"refs/pull/{_integer(_object(pull, 'pull request'), 'number')}/head"


def runner(
    value: Any,
    runner_type: str,
    *,
    groups: frozenset[str] | None = None,
    projects: frozenset[str] | None = None,
) -> Runner:
    """One runner, and whose jobs it takes; Gitea calls tags labels, and every job has some."""
    entry = _object(value, "runner")
    labels = [_text(_object(label, "label"), "name") for label in entries(entry, "labels")]
    return Runner(
        runner_id=_integer(entry, "id"),
        runner_type=runner_type,
        status=_fleet.ONLINE if _text(entry, "status") == "online" else _fleet.OFFLINE,
        paused=entry.get("disabled") is True,
        description=_text_or_empty(entry, "name"),
        tags=tuple(labels),
        run_untagged=False,
        groups=groups,
        projects=projects,
    )
