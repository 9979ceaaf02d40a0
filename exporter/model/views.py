"""What the store tells the snapshot about one unit: the state and totals from which it is rendered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from exporter.model.runs import JobRun, PipelineRun, Status


@dataclass(frozen=True, slots=True)
class ActiveRuns:
    """How many runs of one unfinished status there are, and when the oldest was created."""

    status: Status
    count: int
    oldest_created_at: datetime


@dataclass(frozen=True, slots=True)
class Total:
    """One persisted counter or histogram of a unit; ``labels`` are as they were counted under.

    ``value`` is the counter's amount or the histogram's sum. ``buckets`` are observations by upper
    bound, not cumulative, empty ones left out; ``None`` for a counter.
    """

    family: str
    labels: tuple[str | None, ...]
    value: float
    buckets: dict[float, int] | None = None


@dataclass(frozen=True, slots=True)
class UnitView:
    """All that a unit exposes, read in one go.

    ``version`` grows with every change to the unit. ``latest`` is the newest run of each selected
    pipeline, ref and source; ``latest_jobs`` the newest job of each name of those runs, keyed by run id.
    """

    id: int
    key: str
    name: str
    default_branch: str
    version: int
    latest: tuple[PipelineRun, ...]
    active: tuple[ActiveRuns, ...]
    totals: tuple[Total, ...]
    latest_jobs: dict[int, tuple[JobRun, ...]]
