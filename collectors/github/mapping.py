"""GitHub's JSON to records: its words, times and numbers, and nothing of ours trusts them before this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from collectors._values import Json, instant, instant_or_none, integer, json_object, text, text_or_empty
from exporter.contract import Unit
from exporter.errors import BadAnswer
from exporter.model.runners import RunnerType
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status

STATUSES = {
    "requested": Status.PENDING,
    "queued": Status.PENDING,
    "waiting": Status.PENDING,
    "pending": Status.PENDING,
    "in_progress": Status.RUNNING,
}
CONCLUSIONS = {
    "success": Status.SUCCESS,
    "neutral": Status.SUCCESS,
    "failure": Status.FAILED,
    "timed_out": Status.FAILED,
    "startup_failure": Status.FAILED,
    "stale": Status.FAILED,
    "cancelled": Status.CANCELED,
    "skipped": Status.SKIPPED,
    # A run that waits for somebody to approve it is shown as completed, and goes on as the same attempt.
    "action_required": Status.MANUAL,
}
_REASONS = ("timed_out", "startup_failure", "stale")
# Source: docs.github.com, "Events that trigger workflows"; `dynamic` is of workflows that GitHub makes.
SOURCES = frozenset(
    (
        "branch_protection_rule",
        "check_run",
        "check_suite",
        "create",
        "delete",
        "deployment",
        "deployment_status",
        "discussion",
        "discussion_comment",
        "dynamic",
        "fork",
        "gollum",
        "image_version",
        "issue_comment",
        "issues",
        "label",
        "merge_group",
        "milestone",
        "page_build",
        "project",
        "project_card",
        "project_column",
        "public",
        "pull_request",
        "pull_request_review",
        "pull_request_review_comment",
        "pull_request_target",
        "push",
        "registry_package",
        "release",
        "repository_dispatch",
        "repository_vulnerability_alert",
        "schedule",
        "status",
        "watch",
        "workflow_call",
        "workflow_dispatch",
        "workflow_run",
    )
)
_OF_CHANGE_REQUESTS = frozenset(
    ("pull_request", "pull_request_review", "pull_request_review_comment", "pull_request_target")
)
_HOSTED = "GitHub Actions"
Unknown = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt of a run as lists, answers and webhooks tell it alike.

    ``head`` is the branch or tag, with its owner in front if it is in a fork; ``number`` that of the open
    pull request it is for, ``None`` if GitHub names none (those of forks are never named). ``asked_at`` is
    when the attempt was asked for. ``repository`` is the id of the repository, ``path`` what it is called
    now.
    """

    run_id: int
    attempt: int
    status: Status
    pipeline: str
    event: str
    head: str
    number: int | None
    created_at: datetime
    updated_at: datetime
    asked_at: datetime
    repository: str
    path: str
    username: str | None
    web_url: str | None
    sha: str | None
    commit_title: str | None
    run_number: int | None

    @property
    def change_request(self) -> bool:
        """Whether it is for a pull request."""
        return self.event in _OF_CHANGE_REQUESTS

    @property
    def ref(self) -> str:
        """What it is for: a branch, a tag, or a pull request, by its number if GitHub tells it."""
        return (
            self.head if self.number is None or not self.change_request else change_request_ref(self.number)
        )

    @property
    def source(self) -> str:
        """What triggered it, of the documented events."""
        return self.event if self.event in SOURCES else "unknown"


@dataclass(frozen=True, slots=True)
class Job:
    """One job, and which attempt it is of."""

    record: JobRun
    attempt: int


def unit(value: Any) -> Unit:
    """A repository as a unit; its id is what lasts over renames and transfers."""
    entry = json_object(value, "repository")
    return Unit(
        key=str(integer(entry, "id")),
        name=text(entry, "full_name"),
        created_at=instant_or_none(entry.get("created_at")),
        default_branch=text_or_empty(entry, "default_branch"),
        web_url=text_or_empty(entry, "html_url"),
    )


def entry(value: Any, unknown: Unknown) -> Entry:
    """One attempt of a run."""
    run = json_object(value, "workflow run")
    repository = json_object(run.get("repository"), "repository")
    event = text(run, "event")
    if event not in SOURCES:
        unknown("source")
    created_at = instant(run, "created_at")
    path = text(repository, "full_name")
    user = run.get("triggering_actor") or run.get("actor")
    return Entry(
        run_id=integer(run, "id"),
        attempt=integer(run, "run_attempt") if run.get("run_attempt") is not None else 1,
        status=_status(run, unknown),
        pipeline=text_or_empty(run, "name") or text_or_empty(run, "path"),
        event=event,
        head=_head(run, path),
        number=_number(run.get("pull_requests")),
        run_number=integer(run, "run_number") if run.get("run_number") is not None else None,
        created_at=created_at,
        updated_at=instant(run, "updated_at"),
        asked_at=instant_or_none(run.get("run_started_at")) or created_at,
        repository=str(integer(repository, "id")),
        path=path,
        username=text_or_empty(user, "login") or None if isinstance(user, dict) else None,
        web_url=text_or_empty(run, "html_url") or None,
        sha=text_or_empty(run, "head_sha") or None,
        commit_title=_title(run.get("head_commit")),
    )


def run(
    entry: Entry, kind: RefKind, jobs: Sequence[Job], *, selected: bool, complete: bool = True
) -> PipelineRun:
    """One attempt, whose *jobs* tell when it began and ended, or nothing if they were not read.

    It ends with its last job: the run's own ``updated_at`` moves on when its logs are deleted, say. Its
    duration counts from when the attempt was asked for, its queue time up to the first job that a runner
    took.
    """
    mine = [job.record for job in jobs if job.attempt == entry.attempt]
    started_at = min((job.started_at for job in mine if job.started_at), default=None)
    ended_at = max((job.finished_at for job in mine if job.finished_at), default=entry.updated_at)
    finished = entry.status.finished
    return PipelineRun(
        run_id=entry.run_id,
        number=entry.run_number,
        ref=entry.ref,
        ref_kind=kind,
        source=entry.source,
        status=entry.status,
        created_at=entry.created_at,
        updated_at=entry.updated_at,
        pipeline=entry.pipeline,
        started_at=started_at,
        finished_at=ended_at if finished else None,
        duration_seconds=_between(entry.asked_at, ended_at) if finished else None,
        queue_seconds=_between(entry.asked_at, started_at) if started_at else None,
        username=entry.username,
        web_url=entry.web_url,
        sha=entry.sha,
        commit_title=entry.commit_title,
        selected=selected,
        complete=complete,
        attempt=entry.attempt,
    )


def jobs(values: Sequence[Any], unknown: Unknown) -> list[Job]:
    """The jobs that ran or will, without the copies of earlier ones that a re-run carries over.

    A copy has an id of its own, and the times of the job it was made of; so it ended before it was created.
    """
    found = sorted((job(value, unknown) for value in values), key=lambda one: one.record.job_id)
    seen: dict[tuple[str, datetime, datetime], int] = {}
    kept = []
    for one in sorted(found, key=lambda one: one.attempt):
        record = one.record
        if is_copy(one):
            continue
        if record.started_at and record.finished_at:
            times = (record.name, record.started_at, record.finished_at)
            if seen.setdefault(times, one.attempt) < one.attempt:
                continue
        kept.append(one)
    return kept


def is_copy(job: Job) -> bool:
    """Whether it ended before it was created: a re-run carried it over without running it."""
    record = job.record
    return job.attempt > 1 and record.finished_at is not None and record.finished_at < record.created_at


def job(value: Any, unknown: Unknown) -> Job:
    """One job.

    Until a runner takes it, and for ever if none does, ``started_at`` is when it began to wait. A job that
    `needs` others may have been created before it could have begun: its queue time counts all of that.
    """
    given = json_object(value, "job")
    status = _status(given, unknown)
    ran = _ran(given, status)
    started_at = instant_or_none(given.get("started_at")) if ran else None
    finished_at = instant_or_none(given.get("completed_at")) if status.finished else None
    created_at = instant_or_none(given.get("created_at"))
    record = JobRun(
        job_id=integer(given, "id"),
        run_id=integer(given, "run_id"),
        stage="",
        name=text(given, "name"),
        status=status,
        created_at=created_at or instant(given, "started_at"),
        started_at=started_at,
        finished_at=finished_at,
        duration_seconds=_between(started_at, finished_at) if started_at and finished_at else None,
        queue_seconds=_between(created_at, started_at) if created_at and started_at else None,
        failure_reason=_reason(given, status),
        runner_type=_runner_type(given) if ran else None,
        web_url=text_or_empty(given, "html_url") or None,
    )
    attempt = integer(given, "run_attempt") if given.get("run_attempt") is not None else 1
    return Job(record, attempt)


def _ran(given: Json, status: Status) -> bool:
    """Whether a runner took the job; old servers tell no runner."""
    if status not in (Status.RUNNING, Status.SUCCESS, Status.FAILED, Status.CANCELED):
        return False
    return "runner_id" not in given or bool(given["runner_id"])


def _runner_type(given: Json) -> RunnerType:
    """GitHub's own runners are everybody's, all others in a group of an organisation (or its like)."""
    group = text_or_empty(given, "runner_group_name")
    if not group:
        return RunnerType.UNKNOWN
    return RunnerType.INSTANCE if group == _HOSTED else RunnerType.GROUP


def _status(given: Json, unknown: Unknown) -> Status:
    word = text_or_empty(given, "status")
    if word in STATUSES:
        return STATUSES[word]
    conclusion = text_or_empty(given, "conclusion")
    if word != "completed" or conclusion not in CONCLUSIONS:
        unknown("status")
        return Status.UNKNOWN
    return CONCLUSIONS[conclusion]


def _reason(given: Json, status: Status) -> str:
    """Why a job failed, where its conclusion tells; empty unless it failed."""
    if status is not Status.FAILED:
        return ""
    conclusion = text_or_empty(given, "conclusion")
    return conclusion if conclusion in _REASONS else "unknown"


def _head(run: Json, path: str) -> str:
    """The branch or tag, ``owner:branch`` if it is in another repository."""
    branch = text_or_empty(run, "head_branch")
    head = run.get("head_repository")
    if not isinstance(head, dict) or not isinstance(head.get("full_name"), str):
        return branch
    owner = text(head, "full_name").partition("/")[0]
    return branch if owner == path.partition("/")[0] else f"{owner}:{branch}"


def _number(pulls: Any) -> int | None:
    if not isinstance(pulls, list) or not pulls:
        return None
    return integer(json_object(pulls[0], "pull request"), "number")


def _title(commit: Any) -> str | None:
    if not isinstance(commit, dict):
        return None
    return text_or_empty(commit, "message").partition("\n")[0] or None


def _between(start: datetime, end: datetime) -> float:
    """Seconds, 0.0 or more: two of GitHub's machines may disagree by one."""
    return max(0.0, (end - start).total_seconds())


def change_request_ref(number: int) -> str:
    """The ref of an open pull request."""
    return f"refs/pull/{number}/merge"


def open_change_request_refs(value: Any) -> list[str]:
    """The refs under which runs of an open pull request may be known: by number, or by branch."""
    pull = json_object(value, "pull request")
    head = json_object(pull.get("head"), "head")
    named = (text_or_empty(head, "ref"), text_or_empty(head, "label"))
    return [change_request_ref(integer(pull, "number")), *filter(None, named)]


def ref_name(value: Any, prefix: str) -> str:
    """The short name of a branch or tag."""
    name = text(json_object(value, "ref"), "ref")
    if not name.startswith(prefix):
        raise BadAnswer(f"a ref should begin with {prefix}")
    return name.removeprefix(prefix)
