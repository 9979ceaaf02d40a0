"""GitLab's JSON of environments and deployments to records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from collectors.gitlab.mapping import Unknown
from collectors.gitlab.values import (
    Json,
    instant,
    instant_or_none,
    integer,
    json_object,
    seconds,
    text,
    text_or_empty,
)
from exporter.ci_delivery_families import DEPLOYED, tier_of
from exporter.errors import BadAnswer
from exporter.model.delivery import Commit, Deployment, Tier
from exporter.model.runs import Status

# Source: GitLab, app/models/deployment.rb.
STATUSES = {
    "created": Status.CREATED,
    "running": Status.RUNNING,
    "success": Status.SUCCESS,
    "failed": Status.FAILED,
    "canceled": Status.CANCELED,
    "skipped": Status.SKIPPED,
    "blocked": Status.MANUAL,
}
# A deployment is created with its pipeline: one that is only `created`, or was skipped, never began. GitLab
# itself shows none of these either (`Deployment::VISIBLE_STATUSES`).
SHOWN = (Status.RUNNING, Status.MANUAL, *DEPLOYED)


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment by its id; ``tier`` is unknown before GitLab 13.10."""

    number: int
    name: str
    tier: Tier


def environment(value: Any) -> Environment:
    """An entry of the list of environments."""
    entry = json_object(value, "environment")
    return Environment(integer(entry, "id"), text(entry, "name"), tier_of(text_or_empty(entry, "tier")))


def deployment_id(value: Any) -> int:
    """The id of a deployment of which the rest may be unreadable."""
    return integer(json_object(value, "deployment"), "id")


def environment_of(value: Any) -> tuple[int, str]:
    """Id and name of the environment that a deployment is for."""
    entry = json_object(json_object(value, "deployment").get("environment"), "environment")
    return integer(entry, "id"), text(entry, "name")


def deployment(value: Any, *, unknown: Unknown) -> Deployment:
    """A deployment; the times of its end are those of the job that made it.

    One that was made over the API, or of which the job is gone, has none: it ended when it changed last.
    """
    entry = json_object(value, "deployment")
    word = text(entry, "status")
    if (status := STATUSES.get(word)) is None:
        unknown("deployment_status")
        status = Status.UNKNOWN
    updated_at = instant(entry, "updated_at")
    job = entry.get("deployable")
    job = job if isinstance(job, dict) else {}
    finished_at = instant_or_none(job.get("finished_at")) or updated_at
    return Deployment(
        deployment_id=integer(entry, "id"),
        environment=environment_of(entry)[1],
        status=status,
        commit=Commit(text(entry, "sha"), _committed_at(job.get("commit"))),
        created_at=instant(entry, "created_at"),
        updated_at=updated_at,
        finished_at=finished_at if status in DEPLOYED else None,
        job_seconds=_ran(job) if status in DEPLOYED else None,
    )


def _ran(job: Json) -> float | None:
    """How long the job ran; one without a begin never did, and has no duration in old versions."""
    if (given := seconds(job.get("duration"))) is not None:
        return given
    begin, end = instant_or_none(job.get("started_at")), instant_or_none(job.get("finished_at"))
    return max(0.0, (end - begin).total_seconds()) if begin and end else None


def _committed_at(value: Any) -> Any:
    """When a commit was made; GitLab's ``created_at`` of one is its ``committed_date``."""
    if not isinstance(value, dict):
        return None
    return instant_or_none(value.get("committed_date")) or instant_or_none(value.get("created_at"))


def commit(value: Any) -> Commit:
    """A commit."""
    entry = json_object(value, "commit")
    return Commit(text(entry, "id"), _committed_at(entry))


def head(value: Any) -> Commit:
    """The commit that a branch points to."""
    return commit(json_object(value, "branch").get("commit"))


def commits_between(value: Any) -> int:
    """How many commits a comparison tells."""
    commits = json_object(value, "comparison").get("commits")
    if not isinstance(commits, list):
        raise BadAnswer("the commits of a comparison should be a list")
    return len(commits)
