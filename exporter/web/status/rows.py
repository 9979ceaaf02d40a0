"""The rows of the status page's tables, and where each leads."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import urlsplit

from exporter.model.history import JobState, ProjectState, ShownRun
from exporter.model.runs import PipelineRun, RefKind, Status
from exporter.web.status.answers import Active, Answers, Broken
from exporter.web.status.filters import Filters, exactly
from exporter.web.status.shapes import (
    ActiveRow,
    BrokenRow,
    CollectorRow,
    CollectorState,
    JobRow,
    ProjectRow,
    RunRow,
)
from exporter.web.status.wording import Wording, duration, percent

STALE = timedelta(minutes=30)
"""Without news for longer a collector is called stale, as by the alert CiExporterStaleData."""
MOST_PROJECTS = 100
_WAITS = {Status.MANUAL: "wait for a person", Status.UNKNOWN: "in a status that we do not know"}
_REF_KINDS = {RefKind.TAG: "tag", RefKind.CHANGE_REQUEST: "change request"}


def broken_row(one: Broken, words: Wording) -> BrokenRow:
    first = one.since
    began = (first.finished_at or first.created_at) if first else None
    return BrokenRow(
        key=_key("broken", one.project.provider, one.project.project),
        provider=one.project.provider,
        project=one.project.project,
        branch=one.project.default_branch,
        since=words.moment(began) if began else None,
        age=words.age(began) if began else "",
        who=(first.username if first else None) or "",
        url=_link(one.newest),
        running=one.running,
        longer=one.longer,
    )


def active_row(one: Active, words: Wording) -> ActiveRow:
    oldest = one.oldest.run if one.oldest else None
    return ActiveRow(
        status=one.status,
        count=one.count,
        note=_WAITS.get(one.status, ""),
        age=words.age(oldest.created_at) if oldest else "",
        since=words.moment(oldest.created_at) if oldest else None,
        project=one.oldest.project if one.oldest else "",
        url=_link(oldest),
    )


def run_row(one: ShownRun, filters: Filters, words: Wording) -> RunRow:
    run = one.run
    return RunRow(
        key=_key("run", one.provider, one.project, str(run.run_id)),
        number=run.called,
        provider=one.provider,
        project=one.project,
        project_query=filters.query(project=exactly(one.project)),
        ref=run.ref,
        ref_kind=_REF_KINDS.get(run.ref_kind, ""),
        status=run.status,
        source=run.source,
        who=run.username or "",
        duration=duration(run.duration_seconds),
        waited=duration(run.queue_seconds),
        created=words.moment(run.created_at),
        url=_link(run),
    )


def job_row(one: JobState) -> JobRow:
    return JobRow(
        key=_key("job", one.provider, one.project, one.stage, one.name),
        name=one.name,
        stage=one.stage,
        project=one.project,
        runs=f"{one.runs:,}",
        failed=f"{one.failed:,}",
        share=percent(one.failed / one.runs if one.runs else None),
        flaky=one.flaky,
        average=duration(one.avg_duration),
        longest=duration(one.max_duration),
    )


def project_rows(answers: Answers, filters: Filters) -> list[ProjectRow]:
    """The failing ones first, then those with the lowest success rate, those without runs last."""
    failing = {(one.project.provider, one.project.project) for one in answers.broken}

    def place(one: ProjectState) -> tuple[bool, float, str]:
        rate = one.summary.success_rate
        return (one.provider, one.project) not in failing, 2.0 if rate is None else rate, one.project

    return [_project(one, filters) for one in sorted(answers.projects, key=place)[:MOST_PROJECTS]]


def _project(one: ProjectState, filters: Filters) -> ProjectRow:
    return ProjectRow(
        key=_key("project", one.provider, one.project),
        project=one.project,
        query=filters.query(project=exactly(one.project)),
        branch=one.default_branch,
        status=one.newest.status if one.newest else None,
        url=_link(one.newest),
        runs=f"{one.summary.total:,}",
        rate=percent(one.summary.success_rate),
        p50=duration(one.summary.duration.p50),
        p95=duration(one.summary.duration.p95),
    )


def collector_row(one: CollectorState, words: Wording) -> CollectorRow:
    if not one.polled:
        return CollectorRow(
            one.name, one.trouble or "read by each scrape", "warn" if one.trouble else "", None, ""
        )
    if one.last_success is None:
        return CollectorRow(one.name, one.trouble or "nothing read yet", "warn", None, "")
    stale = is_stale(one, words.now)
    state = one.trouble or ("stale" if stale else "up to date")
    tone = "bad" if stale else "warn" if one.trouble else ""
    return CollectorRow(one.name, state, tone, words.moment(one.last_success), words.age(one.last_success))


def is_stale(one: CollectorState, now: datetime) -> bool:
    return one.polled and one.last_success is not None and now - one.last_success > STALE


def _link(run: PipelineRun | None) -> str | None:
    """Where *run* can be looked at, if that is an ordinary web address: nothing else is safe to click."""
    if run is None or not run.web_url:
        return None
    try:
        parts = urlsplit(run.web_url)
    except ValueError:
        return None
    return run.web_url if parts.scheme in {"http", "https"} and parts.netloc else None


def _key(*parts: str) -> str:
    """What tells a row from all others, for the script that exchanges them."""
    return "/".join(part.replace("/", "//") for part in parts)
