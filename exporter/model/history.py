"""Questions that people ask about runs that are kept, and their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from exporter.model.runs import JobRun, PipelineRun, RefKind, Status


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs are asked about; what is empty or ``None`` is no condition.

    ``since`` (included) and ``until`` (excluded) are compared with when a run was created. ``projects`` and
    ``refs`` are globs as of :func:`fnmatch.fnmatchcase`, of which one must match.
    """

    since: datetime | None = None
    until: datetime | None = None
    providers: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()
    ref_kinds: tuple[RefKind, ...] = ()
    statuses: tuple[Status, ...] = ()
    sources: tuple[str, ...] = ()
    default_branch_only: bool = False


class SortKey(StrEnum):
    """What a list of runs is sorted by; those without a value come last, whatever the direction."""

    CREATED_AT = "created_at"
    FINISHED_AT = "finished_at"
    DURATION = "duration"
    QUEUE_DURATION = "queue_duration"


@dataclass(frozen=True, slots=True)
class ShownRun:
    """One run, with the project it belongs to; ``default_branch`` says whether it ran for that one."""

    provider: str
    project: str
    default_branch: bool
    run: PipelineRun


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs in the order asked for; ``after`` is where the next page begins, ``None`` at the end."""

    runs: tuple[ShownRun, ...]
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Exact ones, in seconds, of the values that are known; ``None`` where none is, or too many are."""

    p50: float | None = None
    p95: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """All runs that were asked about, in numbers; durations in seconds, ``None`` where none is known.

    ``success_rate`` is success / (success + failed), ``None`` without either.
    """

    counts: Mapping[Status, int] = field(default_factory=dict)
    avg_duration: float | None = None
    avg_queue_duration: float | None = None
    duration: Quantiles = Quantiles()
    queue_duration: Quantiles = Quantiles()

    @property
    def total(self) -> int:
        """How many runs there are, unfinished ones too."""
        return sum(self.counts.values())

    @property
    def success_rate(self) -> float | None:
        """0 to 1; ``None`` without a run that succeeded or failed."""
        good, bad = self.counts.get(Status.SUCCESS, 0), self.counts.get(Status.FAILED, 0)
        return good / (good + bad) if good + bad else None


@dataclass(frozen=True, slots=True)
class Step:
    """The runs created in [``start``, ``start`` + step)."""

    start: datetime
    summary: Summary


@dataclass(frozen=True, slots=True)
class ProjectState:
    """A project and the newest run of its default branch, ``None`` if there is none."""

    provider: str
    project: str
    default_branch: str
    summary: Summary
    newest: PipelineRun | None = None


@dataclass(frozen=True, slots=True)
class JobState:
    """All executions of one job of one project, by its name and stage; durations in seconds.

    ``flaky`` counts runs in which it failed and then succeeded.
    """

    provider: str
    project: str
    stage: str
    name: str
    runs: int
    failed: int
    retried: int
    flaky: int
    avg_duration: float | None
    max_duration: float | None


class JobOrder(StrEnum):
    """Which jobs come first."""

    SLOWEST = "slowest"
    FAILING = "failing"
    RETRIED = "retried"


@dataclass(frozen=True, slots=True)
class Dora:
    """The four measures of software delivery, over the deployments in ``days``; ``None`` where none tells.

    A deployment is a finished execution of a job that counts as one, on the default branch.
    """

    days: float
    deployments: int
    failed_deployments: int
    deployments_per_day: float
    lead_time_seconds: float | None
    change_failure_rate: float | None
    time_to_restore_seconds: float | None


class BadPosition(ValueError):
    """A position in a list that is none, or that belongs to another list."""


class History(Protocol):
    """What the store tells people; every answer is of one instant, and may be asked for from any thread."""

    def version(self) -> str:
        """A text that is another one whenever any answer may be."""
        ...

    def runs(
        self,
        wanted: Wanted,
        *,
        sort: SortKey = SortKey.CREATED_AT,
        descending: bool = True,
        limit: int = 100,
        after: str | None = None,
    ) -> RunPage:
        """At most *limit* runs behind position *after*.

        Raises:
            BadPosition: *after* is no position in this list.
        """
        ...

    def run(self, provider: str, project: str, run_id: int) -> tuple[ShownRun, Sequence[JobRun]] | None:
        """One run and its jobs in their order; ``None`` if there is none."""
        ...

    def summary(self, wanted: Wanted) -> Summary:
        """All runs in numbers."""
        ...

    def timeseries(self, wanted: Wanted, step_seconds: int) -> Sequence[Step]:
        """Every step from ``since`` to ``until`` (both must be given), also those without runs, in order."""
        ...

    def projects(self, wanted: Wanted) -> Sequence[ProjectState]:
        """All projects that match, also those without runs in the time asked about, by name."""
        ...

    def jobs(self, wanted: Wanted, order: JobOrder, limit: int) -> Sequence[JobState]:
        """The jobs of the runs, the foremost first."""
        ...

    def dora(self, wanted: Wanted, deployments: Sequence[str]) -> Dora:
        """How well changes are delivered; *deployments* are globs of stages and names of jobs that deploy."""
        ...
