"""What may stand under ``alerts.rules``: what people are told about."""

from __future__ import annotations

import difflib
import zoneinfo
from datetime import UTC, time, tzinfo
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from exporter.config.section import Section
from exporter.model.alerts import Severity
from exporter.model.runs import RefKind, Status

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
GroupBy = Literal["rule", "group", "project", "alert"]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def zone_named(name: str) -> tzinfo:
    """The time zone *name*; UTC needs no time zone database on the machine.

    Raises:
        ValueError: there is none, with a hint.
    """
    if name == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        close = difflib.get_close_matches(name, zoneinfo.available_timezones(), n=1)
        hint = f"; did you mean {close[0]}?" if close else ", such as UTC or Europe/Paris"
        raise ValueError(f"must be the name of a time zone{hint}") from None


def _clock_time(value: str) -> str:
    try:
        parsed = time.fromisoformat(value)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is not None or len(value) != 5:
        raise ValueError('must be a time of day in quotes, such as "22:00"')
    return value


ClockTime = Annotated[str, AfterValidator(_clock_time)]
Globs = tuple[Annotated[str, Field(min_length=1)], ...]
"""Globs of which one must match; one that begins with ``!`` must not. None at all matches everything."""


class QuietHours(Section):
    """When people are left alone: what is still wrong at the end is told then."""

    since: ClockTime = Field(alias="from", description="when they begin, such as 22:00")
    to: ClockTime = Field(description="when they end; not after from: on the next day")
    days: tuple[Day, ...] = Field(default=_DAYS, min_length=1, description="days on which they begin")
    timezone: str | None = Field(default=None, description="time zone (default: the one of the whole file)")
    severities: tuple[Severity, ...] = Field(
        default=(Severity.INFO, Severity.WARNING), description="what they hold back; not critical, by default"
    )

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str | None) -> str | None:
        if value is not None:
            zone_named(value)
        return value


class AnyRule(Section):
    """What all rules have."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$", description="name of the rule, also in metrics"
    )
    severity: Severity = Field(default=Severity.WARNING, description="info, warning or critical")
    channels: tuple[str, ...] | None = Field(default=None, description="names of channels (default: all)")
    title: str | None = Field(
        default=None, max_length=5000, description="jinja2 template of the first line (default: a good one)"
    )
    text: str | None = Field(
        default=None, max_length=20000, description="jinja2 template of the message (default: a good one)"
    )
    group_by: GroupBy | None = Field(
        default=None, description="what becomes one message (default: as under alerts)"
    )
    quiet_hours: QuietHours | None = Field(
        default=None, description="when to leave people alone (default: as under alerts)"
    )
    repeat_interval_seconds: float | None = Field(
        default=None, ge=0, description="tell again after this time; 0: never (default: as under alerts)"
    )
    resolved: bool = Field(default=True, description="whether the end is told too")
    labels: dict[str, str] = Field(default_factory=dict, description="labels added to its alerts")


class RunRule(AnyRule):
    """What rules about runs have: which runs they are about."""

    providers: Globs = Field(default=(), description="globs of providers; !glob excludes")
    projects: Globs = Field(default=(), description="globs of project paths")
    pipelines: Globs = Field(default=(), description="globs of names of pipelines")
    refs: Globs = Field(default=(), description="globs of branches, tags and change requests")
    ref_kinds: tuple[RefKind, ...] = Field(default=(), description="branch, tag, change_request")
    sources: Globs = Field(
        default=("!parent_pipeline",), description="globs of what triggered the run; not the children of runs"
    )
    users: Globs = Field(default=(), description="globs of who triggered it")


class RunFailed(RunRule):
    """Runs that fail: once for each ref, until one of its runs succeeds."""

    kind: Literal["run_failed"] = Field(description="run_failed: a run failed")
    statuses: tuple[Status, ...] = Field(
        default=(Status.FAILED,),
        min_length=1,
        description="what counts as failed, such as [failed, canceled]",
    )
    jobs: Globs = Field(default=(), description="globs of jobs of which one must have failed")
    every_run: bool = Field(default=False, description="tell of each run, not only of the first of a ref")
    resolved: bool = Field(default=False, description="whether the end is told too")
    repeat_interval_seconds: float | None = Field(
        default=0, ge=0, description="tell again after this time; 0: never"
    )

    @field_validator("statuses")
    @classmethod
    def _are_ends(cls, value: tuple[Status, ...]) -> tuple[Status, ...]:
        if not all(status.finished and status is not Status.SUCCESS for status in value):
            raise ValueError("must be some of failed, canceled, skipped")
        return value


class BranchBroken(RunRule):
    """Default branches (or other refs) whose newest finished run failed."""

    kind: Literal["branch_broken"] = Field(
        description="branch_broken: the newest run of the default branch, or of refs, failed"
    )


class RunStuck(RunRule):
    """Runs that wait or run for too long."""

    kind: Literal["run_stuck"] = Field(description="run_stuck: a run waits or runs for too long")
    statuses: tuple[Literal["pending", "running"], ...] = Field(
        default=("pending", "running"), min_length=1, description="which runs to watch"
    )
    longer_than_seconds: float | None = Field(default=None, gt=0, description="limit in seconds")
    times_p95: float | None = Field(
        default=3, ge=1, description="limit in multiples of the 95th percentile of the pipeline's own runs"
    )
    min_runs: int = Field(default=20, ge=2, description="runs without which there is no such percentile")
    at_least_seconds: float = Field(default=300, ge=0, description="no percentile makes the limit shorter")

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.longer_than_seconds is None and self.times_p95 is None:
            raise ValueError("needs longer_than_seconds or times_p95")
        return self


class QueueSlow(RunRule):
    """Pipelines or jobs whose newest run waited too long before it started."""

    kind: Literal["queue_slow"] = Field(description="queue_slow: a run or job waited too long to start")
    longer_than_seconds: float = Field(gt=0, description="limit in seconds")
    of: Literal["runs", "jobs"] = Field(default="runs", description="runs or jobs")
    stages: Globs = Field(default=(), description="globs of stages, of jobs")
    jobs: Globs = Field(default=(), description="globs of jobs")


class JobFailing(RunRule):
    """Jobs that fail again and again on one ref."""

    kind: Literal["job_failing"] = Field(description="job_failing: a job failed several times in a row")
    times: int = Field(default=3, ge=1, le=20, description="how many runs in a row")
    stages: Globs = Field(default=(), description="globs of stages")
    jobs: Globs = Field(default=(), description="globs of jobs")
    allowed_to_fail: bool = Field(default=False, description="also jobs that may fail without harm")


class RunnersOffline(AnyRule):
    """Fleets of runners of which too few are online."""

    kind: Literal["runners_offline"] = Field(description="runners_offline: too few runners are online")
    providers: Globs = Field(default=(), description="globs of providers")
    runner_types: Globs = Field(default=(), description="globs of instance, group, project")
    min_online: int = Field(default=1, ge=1, description="how many must be, of each type that there is")
    for_seconds: float = Field(default=120, ge=0, description="for how long it must be so")


class CollectorFailing(AnyRule):
    """Collectors of this program that fail."""

    kind: Literal["collector_failing"] = Field(description="collector_failing: a collector fails")
    collectors: Globs = Field(default=(), description="globs of collectors")
    for_seconds: float = Field(default=300, ge=0, description="for how long it must be so")


class SinkFailing(AnyRule):
    """Sinks of this program that fail."""

    kind: Literal["sink_failing"] = Field(description="sink_failing: a sink fails")
    sinks: Globs = Field(default=(), description="globs of sinks")
    for_seconds: float = Field(default=300, ge=0, description="for how long it must be so")


class Rows(AnyRule):
    """Values of any metric that this program shows, such as the rows of a query."""

    kind: Literal["rows"] = Field(
        description="rows: a value that is shown, of a query for example, is too large"
    )
    family: str = Field(min_length=1, description="name of the metric")
    where: dict[str, str] = Field(default_factory=dict, description="globs by label, such as {state: open}")
    above: float | None = Field(default=None, description="alert on values above this")
    below: float | None = Field(default=None, description="alert on values below this")
    for_seconds: float = Field(default=0, ge=0, description="for how long it must be so")
    max_alerts: int = Field(
        default=500, ge=1, le=10000, description="alerts at once; further rows are left out"
    )

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("needs above or below")
        return self


Rule = Annotated[
    RunFailed
    | BranchBroken
    | RunStuck
    | QueueSlow
    | JobFailing
    | RunnersOffline
    | CollectorFailing
    | SinkFailing
    | Rows,
    Field(discriminator="kind"),
]
