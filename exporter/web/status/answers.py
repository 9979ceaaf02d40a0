"""What the status page asks the history, in a bounded number of questions with bounded answers."""

from __future__ import annotations

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
from exporter.model.runs import UNFINISHED, Status
from exporter.web.status.filters import Filters, exactly

RUNS = 30
JOBS = 8
_LOOKUPS = 40
"""Default branches that are looked at one by one; beyond it only those whose newest run failed are known."""
_STREAK = 25
"""Runs that are read of a default branch to see since when it fails."""
_ENDS = (Status.SUCCESS, Status.FAILED)


@dataclass(frozen=True, slots=True)
class Broken:
    """A default branch whose last run that succeeded or failed did fail.

    ``since`` is the first failed run after the last success, ``None`` when it was not looked for;
    ``longer`` says that older runs failed too. ``running`` says that a newer run is not finished.
    """

    project: ProjectState
    newest: ShownRun | None
    since: ShownRun | None
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
    """The failing default branches, those that broke last first."""
    suspects = [one for one in projects if one.newest and one.newest.status is not Status.SUCCESS]
    suspects.sort(key=lambda one: bool(one.newest and one.newest.status is not Status.FAILED))
    found = [_streak(history, one) for one in suspects[:_LOOKUPS]]
    found += [
        Broken(one, None, None, False, False)
        for one in suspects[_LOOKUPS:]
        if one.newest and one.newest.status is Status.FAILED
    ]
    broken = [one for one in found if one]
    return sorted(
        broken, key=lambda one: one.since.run.created_at.timestamp() if one.since else 0, reverse=True
    )


def _streak(history: History, project: ProjectState) -> Broken | None:
    """How *project* fails, ``None`` if it does not."""
    only = Wanted(
        providers=(project.provider,),
        projects=(exactly(project.project),),
        default_branch_only=True,
        statuses=_ENDS,
    )
    runs = history.runs(only, limit=_STREAK).runs
    failed = []
    for one in runs:
        if one.run.status is not Status.FAILED:
            break
        failed.append(one)
    if not failed:
        return None
    running = project.newest is not None and not project.newest.status.finished
    longer = len(failed) == len(runs) == _STREAK
    return Broken(project, failed[0], failed[-1], longer, running)
