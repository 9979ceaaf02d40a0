"""Runs and jobs of any CI system, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from exporter.model.runners import RunnerType


class Status(StrEnum):
    """Where a run or job stands; the vendor's own words are mapped onto these by its collector."""

    CREATED = "created"
    PENDING = "pending"
    RUNNING = "running"
    MANUAL = "manual"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELED = "canceled"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen unless somebody runs it again."""
        return self in FINISHED

    @property
    def rank(self) -> int:
        """How far along one execution is; at an equal time the higher rank is the newer state."""
        return _RANKS[self]


FINISHED = (Status.SUCCESS, Status.FAILED, Status.CANCELED, Status.SKIPPED)
UNFINISHED = tuple(status for status in Status if status not in FINISHED)
_RANKS = {
    Status.UNKNOWN: 0,
    Status.CREATED: 1,
    Status.PENDING: 2,
    Status.MANUAL: 3,
    Status.RUNNING: 4,
    Status.SUCCESS: 5,
    Status.FAILED: 5,
    Status.CANCELED: 5,
    Status.SKIPPED: 5,
}


class RefKind(StrEnum):
    """What sort of thing a run was for."""

    BRANCH = "branch"
    TAG = "tag"
    CHANGE_REQUEST = "change_request"


@dataclass(frozen=True, slots=True)
class Execution:
    """How one execution of a run ended; ``duration_seconds`` is ``None`` where the source gives none."""

    status: Status
    finished_at: datetime
    duration_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """One execution of a pipeline, as last seen.

    Identity: ``run_id`` within its unit (project). The same run can be executed again; an execution
    is told from the next one by ``attempt`` where the source counts them, from 1 on, and else by
    ``finished_at``.

    ``finished_at``, ``duration_seconds`` and ``queue_seconds`` are ``None`` while unknown, and
    ``finished_at`` always is while the run is not finished (a source may show the old one during a
    retry). ``coverage_ratio`` is 0 to 1. ``sha`` is the commit it is for, ``commit_title`` its first line.
    ``number`` is what people call it by, where that is not ``run_id``.
    ``pipeline`` is the definition's name, empty where the provider has one per project. ``selected`` says
    whether the operator wants this ref to have series of its own. ``complete`` is false when only a list
    entry was read, so that times are missing. ``earlier`` is the execution before, where a source still
    shows its end while the run goes on again: without it, a run that fails and is retried between two polls
    would have failed unseen.

    ``ended_by`` marks an execution whose end other evidence may put elsewhere: anywhere between
    ``finished_at`` and this, whichever is earlier. One that is known to have ended in between is the same.
    """

    run_id: int
    ref: str
    ref_kind: RefKind
    source: str
    status: Status
    created_at: datetime
    updated_at: datetime
    pipeline: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_seconds: float | None = None
    queue_seconds: float | None = None
    coverage_ratio: float | None = None
    username: str | None = None
    web_url: str | None = None
    sha: str | None = None
    commit_title: str | None = None
    number: int | None = None
    selected: bool = True
    complete: bool = True
    earlier: Execution | None = None
    ended_by: datetime | None = None
    attempt: int | None = None

    @property
    def called(self) -> int:
        """The number that people know it by."""
        return self.run_id if self.number is None else self.number


@dataclass(frozen=True, slots=True)
class JobRun:
    """One job of a run, as last seen.

    Identity: ``job_id`` within its unit. A retried job is a new job of the same ``run_id`` and
    ``name``. ``failure_reason`` is empty unless the job failed. ``runner_type`` is ``None`` until a runner
    took the job, and where the provider knows no such thing.
    """

    job_id: int
    run_id: int
    stage: str
    name: str
    status: Status
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    duration_seconds: float | None = None
    queue_seconds: float | None = None
    failure_reason: str = ""
    allow_failure: bool = False
    runner_type: RunnerType | None = None
    web_url: str | None = None
