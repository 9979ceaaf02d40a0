"""What the status page is made of: figures, rows and the words around them, as the template lays them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from exporter.model.runs import Status
from exporter.web.status.charts import Chart, Row
from exporter.web.status.filters import RANGES, Filters
from exporter.web.status.wording import Moment


@dataclass(frozen=True, slots=True)
class CollectorState:
    """How a collector stands.

    ``provider`` is empty for one that reads no runs. ``last_success`` is ``None`` until there was one, and
    for one that is read by each scrape (``polled`` false). ``trouble`` is a sentence, ``None`` without any.
    """

    name: str
    provider: str = ""
    polled: bool = True
    last_success: datetime | None = None
    trouble: str | None = None

    def in_whole_minutes(self) -> CollectorState:
        """The same without seconds."""
        if self.last_success is None:
            return self
        return replace(self, last_success=self.last_success.replace(second=0, microsecond=0))


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known besides the history; ``waiting`` is runner type -> waiting jobs, ``None`` if unknown."""

    collectors: Sequence[CollectorState] = ()
    waiting: Mapping[str, int] | None = None

    def in_whole_minutes(self) -> Standing:
        """The same without seconds, which would make every page another one than the last."""
        return replace(self, collectors=[one.in_whole_minutes() for one in self.collectors])


@dataclass(frozen=True, slots=True)
class Figure:
    """One number in large type; ``tone`` is ``bad``, ``warn`` or nothing."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One line of the list of runs; ``url`` is ``None`` without a link that is safe to follow."""

    key: str
    number: int
    provider: str
    project: str
    project_query: str
    ref: str
    ref_kind: str
    status: Status
    source: str
    who: str
    duration: str
    waited: str
    created: Moment
    url: str | None


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A failing default branch; ``since`` is ``None`` when it was not looked for."""

    key: str
    provider: str
    project: str
    branch: str
    since: Moment | None
    age: str
    who: str
    url: str | None
    running: bool
    longer: bool


@dataclass(frozen=True, slots=True)
class ActiveRow:
    """The unfinished runs of one status; ``age`` of the oldest is empty if that is not known."""

    status: Status
    count: int
    note: str
    age: str
    since: Moment | None
    project: str
    url: str | None


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job of one project over all its executions."""

    key: str
    name: str
    stage: str
    project: str
    runs: str
    failed: str
    share: str
    flaky: int
    average: str
    longest: str


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """One project; ``status`` is that of its default branch's newest run, ``None`` without any."""

    key: str
    project: str
    query: str
    branch: str
    status: Status | None
    url: str | None
    runs: str
    rate: str
    p50: str
    p95: str


@dataclass(frozen=True, slots=True)
class CollectorRow:
    """How fresh a collector's data are; ``tone`` as for :class:`Figure`."""

    name: str
    state: str
    tone: str
    since: Moment | None
    age: str


@dataclass(frozen=True, slots=True)
class Head:
    """What stands around the content, and also when there is none."""

    version: str
    zone: str
    now: Moment
    filters: Filters
    notices: Sequence[str]
    providers: Sequence[str]
    collectors: Sequence[CollectorRow]
    ranges: Sequence[str] = tuple(RANGES)
    statuses: Sequence[Status] = tuple(Status)


@dataclass(frozen=True, slots=True)
class View:
    """The whole page. ``empty`` says why there is nothing to see, and what to do; empty text otherwise."""

    head: Head
    sentence: str
    empty: str
    warnings: Sequence[str]
    figures: Sequence[Figure]
    broken: Sequence[BrokenRow]
    more_broken: int
    active: Sequence[ActiveRow]
    waiting: Sequence[tuple[str, int]] | None
    charts: Sequence[Chart]
    steps: Sequence[Row]
    span: tuple[Moment, Moment]
    runs: Sequence[RunRow]
    older: str | None
    slowest: Sequence[JobRow]
    failing: Sequence[JobRow]
    projects: Sequence[ProjectRow]
    more_projects: int
    project_names: Sequence[str] = field(default=())
    sources: Sequence[str] = field(default=())
