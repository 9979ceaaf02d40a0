"""Where Forgejo's API differs from Gitea's: runs in other words, and tasks in place of jobs.

Forgejo lists runs of single repositories alone, and jobs without any time. Its tasks are what runners
executed: one for each execution of a job, none for one that was skipped or cancelled before a runner took it.
Nothing of this was recorded.

Source: Forgejo, modules/structs/action.go and repo_actions.go, routers/api/v1/api.go.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from collectors._values import integer, json_object, text, text_or_empty
from collectors.gitea.mapping import Job, Run, Unknown, moment, ref_of, source
from exporter.errors import BadAnswer
from exporter.model.runs import Status

UNFINISHED = ("waiting", "running", "blocked")
# Source: Forgejo, models/actions/status.go.
STATUSES = {
    "waiting": Status.PENDING,
    "blocked": Status.CREATED,
    "running": Status.RUNNING,
    "success": Status.SUCCESS,
    "failure": Status.FAILED,
    "cancelled": Status.CANCELED,
    "skipped": Status.SKIPPED,
}


@dataclass(frozen=True, slots=True)
class Task:
    """One execution of a job, of the run with that number in its repository."""

    task_id: int
    run_number: int
    name: str
    status: Status
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime | None


def is_forgejo(version: str) -> bool:
    """Whether that is how Forgejo writes its version: with the Gitea that it is compatible with."""
    return "+gitea-" in version


def run(value: Any, *, unknown: Unknown) -> Run:
    """One run."""
    entry = json_object(value, "run")
    kind, ref = ref_of(_full_ref(entry), text_or_empty(entry, "prettyref"))
    user, repository = entry.get("trigger_user"), entry.get("repository")
    started_at = moment(entry.get("started"))
    stands = _status(entry, unknown)
    return Run(
        run_id=integer(entry, "id"),
        attempt=0,
        has_attempts=False,
        status=Status.RUNNING if started_at and stands in (Status.CREATED, Status.PENDING) else stands,
        pipeline=text(entry, "workflow_id"),
        ref=ref,
        ref_kind=kind,
        source=source(text_or_empty(entry, "trigger_event") or text_or_empty(entry, "event"), unknown),
        started_at=started_at,
        completed_at=moment(entry.get("stopped")),
        username=text_or_empty(user, "login") if isinstance(user, dict) else "",
        web_url=text_or_empty(entry, "html_url"),
        sha=text_or_empty(entry, "commit_sha"),
        title=text_or_empty(entry, "title"),
        project=text_or_empty(repository, "full_name") if isinstance(repository, dict) else "",
        number=integer(entry, "index_in_repo"),
        created_at=moment(entry.get("created")),
        jobs_tell_waits=False,
    )


def task(value: Any, *, unknown: Unknown) -> Task:
    """One task."""
    entry = json_object(value, "task")
    created_at = moment(entry.get("created_at"))
    if created_at is None:
        raise BadAnswer("created_at of a task should be a time with an offset from UTC")
    return Task(
        task_id=integer(entry, "id"),
        run_number=integer(entry, "run_number"),
        name=text(entry, "name"),
        status=_status(entry, unknown),
        created_at=created_at,
        started_at=moment(entry.get("run_started_at")),
        updated_at=moment(entry.get("updated_at")),
    )


def jobs(run: Run, tasks: Iterable[Task]) -> list[Job]:
    """The *tasks* of one run as jobs, the oldest first; the same name again is a further attempt."""
    times: Counter[str] = Counter()
    found: list[Job] = []
    for one in sorted(tasks, key=lambda one: one.task_id):
        times[one.name] += 1
        found.append(
            Job(
                job_id=one.task_id,
                run_id=run.run_id,
                attempt=times[one.name],
                name=one.name,
                status=one.status,
                labels=frozenset(),
                runner_id=0,
                created_at=one.created_at,
                started_at=one.started_at or one.created_at,
                completed_at=one.updated_at if one.status.finished else None,
                web_url=run.web_url,
                project=run.project,
            )
        )
    return found


def _status(entry: Any, unknown: Unknown) -> Status:
    word = text(entry, "status")
    if word not in STATUSES:
        unknown("status")
    return STATUSES.get(word, Status.UNKNOWN)


def _full_ref(entry: Any) -> str:
    """The whole ref, from the event where that tells it; empty if nothing does.

    ``prettyref`` alone does not tell a tag from a branch.
    """
    pretty = text_or_empty(entry, "prettyref")
    if pretty.startswith("#"):
        return f"refs/pull/{pretty.removeprefix('#')}/head"
    try:
        payload = json.loads(text_or_empty(entry, "event_payload") or "{}")
    except (ValueError, RecursionError):
        return ""
    ref = payload.get("ref") if isinstance(payload, dict) else None
    return ref if isinstance(ref, str) and ref.startswith("refs/") else ""
