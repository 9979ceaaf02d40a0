"""What happens to code beside its pipelines: it is reviewed, merged and deployed; standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from exporter.model.runs import Status


class Tier(StrEnum):
    """What an environment is for."""

    PRODUCTION = "production"
    STAGING = "staging"
    TESTING = "testing"
    DEVELOPMENT = "development"
    OTHER = "other"
    UNKNOWN = "unknown"


class ChangeState(StrEnum):
    """Where a change request stands, in the words of OpenTelemetry's ``vcs.change.state``."""

    OPEN = "open"
    WIP = "wip"
    MERGED = "merged"
    CLOSED = "closed"


ENDED = (ChangeState.MERGED, ChangeState.CLOSED)
OPENED = (ChangeState.OPEN, ChangeState.WIP)


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit; ``committed_at`` is ``None`` where the source does not tell."""

    sha: str
    committed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment to an environment, as last seen.

    Identity: ``deployment_id`` within its unit (project). ``finished_at`` is ``None`` until it ended.
    ``job_seconds`` is how long its job ran, ``None`` while unknown and where no job deployed.
    """

    deployment_id: int
    environment: str
    status: Status
    commit: Commit
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    job_seconds: float | None = None

    @property
    def duration_seconds(self) -> float | None:
        """From its creation to its end."""
        if self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.created_at).total_seconds())

    @property
    def lead_seconds(self) -> float | None:
        """From the commit to the end of a deployment that succeeded; ``None`` where that cannot be told."""
        if self.status is not Status.SUCCESS or self.finished_at is None or self.commit.committed_at is None:
            return None
        return max(0.0, (self.finished_at - self.commit.committed_at).total_seconds())


@dataclass(frozen=True, slots=True)
class Behind:
    """How far what is deployed lies behind the default branch, in commits.

    ``seconds`` lie between its commit and the newest one of that branch, ``None`` where the source does not
    tell when they were made.
    """

    commits: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How one environment stands, or a group of alike ones that are shown as one.

    ``newest`` is the deployment that was begun last, ``deployed`` the newest one that succeeded; ``None`` if
    there is none. ``behind`` is ``None`` while unknown, and for groups.
    """

    tier: Tier
    environments: int = 1
    newest: Deployment | None = None
    deployed: Deployment | None = None
    behind: Behind | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One change request (merge request, pull request), as last seen.

    Identity: ``number`` within its unit (project). ``merged_at`` and ``closed_at`` are ``None`` until then.
    """

    number: int
    state: ChangeState
    author: str
    created_at: datetime
    updated_at: datetime
    merged_at: datetime | None = None
    closed_at: datetime | None = None

    @property
    def ended_at(self) -> datetime | None:
        """When it was merged or closed; ``None`` while it is open."""
        if self.state is ChangeState.MERGED:
            return self.merged_at
        return self.closed_at if self.state is ChangeState.CLOSED else None

    def after(self, instant: datetime) -> float:
        """Seconds from its creation to *instant*."""
        return max(0.0, (instant - self.created_at).total_seconds())
