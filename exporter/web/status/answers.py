"""What the status page asks the history, in a bounded number of questions with bounded answers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from exporter.model.history import (
    BadPosition,
    History,
    JobOrder,
    JobState,
    ProjectState,
    RunPage,
    ShownRun,
    SortKey,
    Step,
    Summary,
    Wanted,
)
from exporter.model.runs import UNFINISHED, PipelineRun, Status
from exporter.web.status.filters import Filters, exactly

RUNS = 30
JOBS = 8
MOST_BROKEN = 12
"""Failing default branches of which more is told than that they fail."""
_READ = 300
"""Runs that are read to see since when these fail."""
_ENDS = (Status.SUCCESS, Status.FAILED)


@dataclass(frozen=True, slots=True)
class Broken:
    """A default branch whose last run that succeeded or failed did fail.

    ``newest`` is that run. ``since`` is the first of those that failed in a row, ``None`` when it was not
    looked for; ``longer`` says that more may have failed before. ``running`` says that a newer run is not
    finished.
    """

    project: ProjectState
    newest: PipelineRun
    since: PipelineRun | None
    longer: bool
    running: bool


@dataclass(frozen=True, slots=True)
class Active:
    """The runs of one unfinished status; ``oldest`` is ``None`` if it ended in between."""

    status: Status
    count: int
    oldest: ShownRun | None


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything that the page shows of the history."""

    since: datetime
    until: datetime
    summary: Summary
    steps: Sequence[Step]
    page: RunPage
    bad_position: bool
    slowest: Sequence[JobState]
    failing: Sequence[JobState]
    projects: Sequence[ProjectState]
    broken: Sequence[Broken]
    active: Sequence[Active]


def ask(history: History, filters: Filters, now: datetime, zone: tzinfo) -> Answers:
    """The answers at *now*; its days begin at midnight in *zone*."""
    since, until = filters.range.window(now, zone)
    wanted = filters.wanted(since, until)
    projects = history.projects(wanted)
    page, bad_position = _page(history, wanted, filters.after)
    return Answers(
        since=since,
        until=until,
        summary=history.summary(wanted),
        steps=history.timeseries(wanted, int(filters.range.step.total_seconds())),
        page=page,
        bad_position=bad_position,
        slowest=history.jobs(wanted, JobOrder.SLOWEST, JOBS),
        failing=[one for one in history.jobs(wanted, JobOrder.FAILING, JOBS) if one.failed],
        projects=projects,
        broken=_broken(history, projects),
        active=_active(history, filters.place()),
    )


def _page(history: History, wanted: Wanted, after: str) -> tuple[RunPage, bool]:
    """Runs after a position, and whether it was none: the newest ones then."""
    try:
        return history.runs(wanted, limit=RUNS, after=after or None), False
    except BadPosition:
        return history.runs(wanted, limit=RUNS), True


def _active(history: History, place: Wanted) -> list[Active]:
    counts = history.summary(replace(place, statuses=UNFINISHED)).counts
    found = []
    for status in (Status.RUNNING, Status.PENDING, Status.CREATED, Status.MANUAL, Status.UNKNOWN):
        if counts.get(status):
            one = replace(place, statuses=(status,))
            oldest = history.runs(one, sort=SortKey.CREATED_AT, descending=False, limit=1).runs
            found.append(Active(status, counts[status], oldest[0] if oldest else None))
    return found


def _broken(history: History, projects: Sequence[ProjectState]) -> list[Broken]:
    """The failing default branches, those that failed last first."""
    hidden = [one for one in projects if one.newest and one.newest.status not in _ENDS]
    ends, _ = _ends_of(history, hidden)
    found = []
    for one in projects:
        last = ends.get(_name(one), [None])[0] if one in hidden else one.newest
        if last and one.newest and last.status is Status.FAILED:
            found.append(Broken(one, last, None, False, not one.newest.status.finished))
    found.sort(key=lambda one: one.newest.created_at, reverse=True)
    return _since(history, found[:MOST_BROKEN]) + found[MOST_BROKEN:]


def _since(history: History, broken: Sequence[Broken]) -> list[Broken]:
    """*broken* with the first run of those that failed in a row."""
    ends, complete = _ends_of(history, [one.project for one in broken])
    found = []
    for one in broken:
        runs = ends.get(_name(one.project), [])
        failed = list(itertools.takewhile(lambda run: run.status is Status.FAILED, runs))
        longer = len(failed) == len(runs) and not complete
        found.append(replace(one, since=failed[-1] if failed else None, longer=longer))
    return found


def _ends_of(
    history: History, projects: Sequence[ProjectState]
) -> tuple[dict[tuple[str, str], list[PipelineRun]], bool]:
    """The runs that ended of their default branches, newest first, and whether these are all."""
    if not projects:
        return {}, True
    wanted = Wanted(
        projects=tuple(exactly(one.project) for one in projects), default_branch_only=True, statuses=_ENDS
    )
    page = history.runs(wanted, limit=_READ)
    found: dict[tuple[str, str], list[PipelineRun]] = {}
    for one in page.runs:
        found.setdefault((one.provider, one.project), []).append(one.run)
    return found, page.after is None


def _name(project: ProjectState) -> tuple[str, str]:
    return project.provider, project.project
