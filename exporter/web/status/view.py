"""What the status page says: a pure function from answers to words, which the template only lays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from urllib.parse import urlsplit

from exporter.model.history import JobState, ProjectState, ShownRun, Summary
from exporter.model.runs import PipelineRun, RefKind, Status
from exporter.web.status.answers import MOST_BROKEN, Active, Answers, Broken
from exporter.web.status.charts import Chart, Row, draw, tabulate
from exporter.web.status.filters import RANGES, Filters, exactly
from exporter.web.status.wording import UNKNOWN, Moment, Wording, duration, many, percent

STALE = timedelta(minutes=30)
"""Without news for longer a collector is called stale, as by the alert CiExporterStaleData."""
_MOST_PROJECTS = 100
_MOST_NAMES = 200
_WAITS = {Status.MANUAL: "wait for a person", Status.UNKNOWN: "in a status that we do not know"}
_REF_KINDS = {RefKind.TAG: "tag", RefKind.CHANGE_REQUEST: "change request"}


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
        collectors=[_collector(one, words) for one in standing.collectors],
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
        broken=[_broken(one, words) for one in answers.broken[:MOST_BROKEN]],
        more_broken=max(0, len(answers.broken) - MOST_BROKEN),
        active=[_active(one, words) for one in answers.active],
        waiting=sorted(standing.waiting.items()) if standing.waiting is not None else None,
        charts=draw(answers.steps, words) if answers.summary.total else (),
        steps=tabulate(answers.steps, words),
        span=(words.moment(answers.since), words.moment(answers.until)),
        runs=[_run(one, filters, words) for one in answers.page.runs],
        older=filters.query(after=answers.page.after) if answers.page.after else None,
        slowest=[_job(one) for one in answers.slowest if one.avg_duration is not None],
        failing=[_job(one) for one in answers.failing],
        projects=_projects(answers, filters),
        more_projects=max(0, len(answers.projects) - _MOST_PROJECTS),
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
        if _is_stale(one, words.now) and one.last_success:
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


def _broken(one: Broken, words: Wording) -> BrokenRow:
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


def _active(one: Active, words: Wording) -> ActiveRow:
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


def _run(one: ShownRun, filters: Filters, words: Wording) -> RunRow:
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


def _job(one: JobState) -> JobRow:
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


def _projects(answers: Answers, filters: Filters) -> list[ProjectRow]:
    """The failing ones first, then those with the lowest success rate, those without runs last."""
    failing = {(one.project.provider, one.project.project) for one in answers.broken}

    def place(one: ProjectState) -> tuple[bool, float, str]:
        rate = one.summary.success_rate
        return (one.provider, one.project) not in failing, 2.0 if rate is None else rate, one.project

    return [_project(one, filters) for one in sorted(answers.projects, key=place)[:_MOST_PROJECTS]]


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


def _collector(one: CollectorState, words: Wording) -> CollectorRow:
    if not one.polled:
        return CollectorRow(
            one.name, one.trouble or "read by each scrape", "warn" if one.trouble else "", None, ""
        )
    if one.last_success is None:
        return CollectorRow(one.name, one.trouble or "nothing read yet", "warn", None, "")
    stale = _is_stale(one, words.now)
    state = one.trouble or ("stale" if stale else "up to date")
    tone = "bad" if stale else "warn" if one.trouble else ""
    return CollectorRow(one.name, state, tone, words.moment(one.last_success), words.age(one.last_success))


def _is_stale(one: CollectorState, now: datetime) -> bool:
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
