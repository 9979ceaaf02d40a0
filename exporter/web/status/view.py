"""What the status page says: a pure function from answers to words, which the template only lays out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo

from exporter.model.history import Summary
from exporter.model.runs import Status
from exporter.web.status.answers import MOST_BROKEN, Active, Answers
from exporter.web.status.charts import draw, tabulate
from exporter.web.status.filters import Filters
from exporter.web.status.rows import (
    MOST_PROJECTS,
    active_row,
    broken_row,
    collector_row,
    is_stale,
    job_row,
    project_rows,
    run_row,
)
from exporter.web.status.shapes import Figure, Head, Standing, View
from exporter.web.status.wording import UNKNOWN, Moment, Wording, duration, many, percent

_MOST_NAMES = 200


def head(
    filters: Filters, notices: Sequence[str], standing: Standing, *, now: datetime, zone: tzinfo, version: str
) -> Head:
    """The frame of the page at *now*."""
    words = Wording(zone, now)
    providers = {one.provider for one in standing.collectors if one.provider}
    return Head(
        version=version,
        zone=str(zone),
        now=Moment(f"{now.astimezone(zone):%H:%M}", words.moment(now).exact),
        filters=filters,
        notices=notices,
        providers=sorted(providers | ({filters.provider} if filters.provider else set())),
        collectors=[collector_row(one, words) for one in standing.collectors],
    )


def view(frame: Head, answers: Answers, standing: Standing, *, now: datetime, zone: tzinfo) -> View:
    """The page that tells *answers*."""
    words = Wording(zone, now)
    filters = frame.filters
    return View(
        head=frame,
        sentence=_sentence(answers, filters),
        empty=_emptiness(answers, standing, filters),
        warnings=_warnings(answers, standing, words),
        figures=_figures(answers),
        broken=[broken_row(one, words) for one in answers.broken[:MOST_BROKEN]],
        more_broken=max(0, len(answers.broken) - MOST_BROKEN),
        active=[active_row(one, words) for one in answers.active],
        waiting=sorted(standing.waiting.items()) if standing.waiting is not None else None,
        charts=draw(answers.steps, words) if answers.summary.total else (),
        steps=tabulate(answers.steps, words),
        span=(words.moment(answers.since), words.moment(answers.until)),
        runs=[run_row(one, filters, words) for one in answers.page.runs],
        older=filters.query(after=answers.page.after) if answers.page.after else None,
        slowest=[job_row(one) for one in answers.slowest if one.avg_duration is not None],
        failing=[job_row(one) for one in answers.failing],
        projects=project_rows(answers, filters),
        more_projects=max(0, len(answers.projects) - MOST_PROJECTS),
        project_names=sorted({one.project for one in answers.projects})[:_MOST_NAMES],
        sources=sorted({one.run.source for one in answers.page.runs}),
    )


def _sentence(answers: Answers, filters: Filters) -> str:
    """The state of everything in one breath, for who hears the page."""
    failing = many(len(answers.broken), "default branch fails", "default branches fail")
    rate = percent(answers.summary.success_rate)
    told = "no run has ended" if rate == UNKNOWN else f"success rate {rate}"
    active = sum(one.count for one in answers.active)
    return f"{failing}; {many(active, 'run')} under way; {told} in the {filters.range.text}."


def _emptiness(answers: Answers, standing: Standing, filters: Filters) -> str:
    if answers.summary.total:
        return ""
    if filters.narrowed:
        return f"No run of the {filters.range.text} matches these filters."
    if answers.projects:
        watched = many(len(answers.projects), "project is", "projects are")
        return f"{watched} watched, and none of them ran in the {filters.range.text}."
    if not any(one.provider for one in standing.collectors):
        return (
            "No collector that reads runs is configured: write a block for your CI system under collectors:"
            " (config.example.yaml shows them all), then restart or reload."
        )
    return (
        "No project has been read yet. After a start this takes until the first round is done; if it lasts,"
        " see below what the collectors say, and try: ci-exporter check --online."
    )


def _warnings(answers: Answers, standing: Standing, words: Wording) -> list[str]:
    found = []
    for one in standing.collectors:
        if is_stale(one, words.now) and one.last_success:
            shown = words.moment(one.last_success).shown
            age = words.age(one.last_success)
            found.append(
                f"{one.name} has read nothing since {shown}, {age} ago: what it brought is that old."
            )
    if answers.bad_position:
        found.append("The address asks for runs after a position that is none: these are the newest.")
    return found


def _figures(answers: Answers) -> list[Figure]:
    summary = answers.summary
    failed = summary.counts.get(Status.FAILED, 0)
    active = sum(one.count for one in answers.active)
    broken = len(answers.broken)
    return [
        Figure("Success rate", percent(summary.success_rate), f"{failed:,} failed of {_ended(summary):,}"),
        Figure(
            "Runs", f"{summary.total:,}", many(summary.counts.get(Status.CANCELED, 0), "canceled", "canceled")
        ),
        _spread("Duration", summary.avg_duration, summary.duration.p50, summary.duration.p95),
        _spread(
            "Waiting to start",
            summary.avg_queue_duration,
            summary.queue_duration.p50,
            summary.queue_duration.p95,
        ),
        Figure("Under way now", f"{active:,}", _told_active(answers.active)),
        Figure(
            "Failing default branches",
            f"{broken:,}",
            f"of {many(len(answers.projects), 'project')}",
            "bad" if broken else "",
        ),
    ]


def _spread(label: str, average: float | None, middle: float | None, slow: float | None) -> Figure:
    """The median, or the average where there are too many values for it."""
    if middle is None:
        return Figure(label, duration(average), "average" if average is not None else "")
    return Figure(label, duration(middle), f"median; p95 {duration(slow)}")


def _ended(summary: Summary) -> int:
    return summary.counts.get(Status.FAILED, 0) + summary.counts.get(Status.SUCCESS, 0)


def _told_active(active: Sequence[Active]) -> str:
    return ", ".join(f"{one.count:,} {one.status}" for one in active[:2]) or "nothing runs"
