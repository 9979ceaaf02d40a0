"""The board to begin with: all providers and projects."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from deploy.grafana.boards import looks
from deploy.grafana.boards.board import Row, address, board, ci_choices, field
from deploy.grafana.boards.panels import Column, Head, Query, bars, lines, number, rows
from deploy.grafana.boards.promql import (
    ACTIVE,
    FAILED,
    RANGE,
    SELECTED,
    WINDOW,
    age,
    broken,
    gauge,
    grown,
    or_zero,
    per_hour,
    quantile,
    select,
    success_rate,
    top,
    total,
)

RUNS, DURATION, QUEUE = (
    "ci_pipeline_runs_total",
    "ci_pipeline_run_duration_seconds",
    "ci_pipeline_run_queue_duration_seconds",
)
NO_RUNS = "no run finished in this time range"
_NO_PROJECT = "no project is known"
_OLDEST = "ci_pipeline_oldest_active_timestamp_seconds"
_PROJECTS = select("ci_project_info")
_EACH = "provider, project"


def overview() -> Dashboard:
    """All providers: what fails, what runs, how long it takes."""
    return board(
        "overview",
        "Overview",
        "Every provider and project: what is broken now, how much runs, how long it takes and waits.",
        variables=ci_choices(),
        rows=[
            Row(1, "Now and in this time range", [*_judged(), *_waiting()]),
            Row(2, "What is broken, and who is slow", _projects()),
            Row(3, "Over time", _curves()),
        ],
    )


def _judged() -> list[Panel]:
    rate = Head(
        11,
        "Success rate",
        "percentunit",
        "Successful runs of those that succeeded or failed in the time range. Canceled and skipped runs count"
        " neither way.",
        NO_RUNS,
    )
    finished = Head(
        12,
        "Finished runs",
        "short",
        "Runs that finished in the time range, whatever became of them. Child pipelines are runs of"
        " their own.",
        NO_RUNS,
    )
    failing = Head(
        13,
        "Failing default branches",
        "short",
        "Default branches whose newest run failed and has not been repaired, each trigger by itself.",
        _NO_PROJECT,
    )
    alerts = Head(
        14,
        "Alerts firing",
        "short",
        "Alerts of deploy/prometheus/rules.yaml that fire now. Without these rules in Prometheus"
        " this is empty.",
        "none, or no rules",
    )
    firing = 'count(ALERTS{alertname=~"Ci.+", alertstate="firing"})'
    return [
        number(rate, success_rate(RUNS, RANGE), looks.SUCCESS),
        number(finished, f"round({total(grown(RUNS, RANGE))})"),
        number(failing, or_zero(f"sum({broken()})", _PROJECTS), looks.ANY_IS_BAD),
        number(alerts, firing, looks.ANY_IS_BAD),
    ]


def _waiting() -> list[Panel]:
    active = Head(
        15,
        "Active runs",
        "short",
        "Runs that wait or are at work now. Those that wait for a person (manual) are not among them.",
        _NO_PROJECT,
    )
    oldest = Head(
        16,
        "Oldest active run",
        "s",
        "How long ago the oldest run was created that waits or is at work. A run that never ends shows here.",
        "nothing is active",
    )
    duration = Head(
        17,
        "Duration, p95",
        "s",
        "95 % of the runs that finished in the time range took no longer than this.",
        NO_RUNS,
    )
    queue = Head(
        18,
        "Queue time, p95",
        "s",
        "95 % of the runs that finished in the time range waited no longer than this, from creation to first"
        " start.",
        NO_RUNS,
    )
    return [
        number(active, or_zero(total(gauge("ci_pipeline_runs_active", ACTIVE)), _PROJECTS)),
        number(oldest, age(f"min({gauge(_OLDEST, ACTIVE)})"), looks.rising(3600, 6 * 3600)),
        number(duration, quantile(0.95, DURATION, RANGE)),
        number(queue, quantile(0.95, QUEUE, RANGE), looks.rising(60, 600)),
    ]


def _projects() -> list[Panel]:
    to_project = (
        "Open the project",
        address("project", provider=field("Provider"), project=field("Project")),
    )
    names = [Column("provider", "Provider", width=120), Column("project", "Project", link=to_project)]
    failing = Head(
        21,
        "Failing default branches",
        "none",
        "Default branches whose newest run failed, and how long ago it finished. Each trigger by itself.",
        "no default branch fails",
        height=9,
    )
    finished = gauge("ci_pipeline_last_finished_timestamp_seconds")
    keys = "provider, project, pipeline, ref, ref_kind, source"
    since = f"max by (provider, project, ref, source) ({age(finished)} and on ({keys}) ({broken()}))"
    each = Head(
        22,
        "Projects",
        "none",
        "What finished in the time range, by project, the least successful first. A project in which nothing"
        " finished is not listed.",
        NO_RUNS,
        height=9,
    )
    asked = [
        f"round({total(grown(RUNS, RANGE), _EACH)}) > 0",
        success_rate(RUNS, RANGE, _EACH),
        quantile(0.95, DURATION, RANGE, _EACH),
        quantile(0.95, QUEUE, RANGE, _EACH),
        total(gauge("ci_pipeline_runs_active", ACTIVE), _EACH),
    ]
    values = [
        Column("A", "Runs", "short"),
        Column("B", "Success rate", "percentunit", looks.SUCCESS),
        Column("C", "Duration, p95", "s"),
        Column("D", "Queue time, p95", "s", looks.rising(60, 600)),
        Column("E", "Active", "short"),
    ]
    refs = [Column("ref", "Ref"), Column("source", "Trigger"), Column("A", "Finished ago", "s")]
    return [
        rows(failing, [since], [*names, *refs], "Finished ago"),
        rows(each, asked, [*names, *values], "Success rate", up=True),
        *_worst(),
    ]


def _worst() -> list[Panel]:
    slow = Head(
        23,
        "Slowest projects",
        "s",
        "The ten projects with the greatest p95 of the duration of runs that finished in the time range.",
        NO_RUNS,
    )
    failing = Head(
        24,
        "Projects with the most failed runs",
        "short",
        "The ten projects in which most runs failed in the time range.",
        "no run failed in this time range",
    )
    failed = f"round({total(grown(RUNS, RANGE, FAILED), _EACH)})"
    return [
        bars(slow, Query(top(10, quantile(0.95, DURATION, RANGE, _EACH)), "{{project}}")),
        bars(failing, Query(top(10, failed), "{{project}}"), looks.ANY_IS_BAD),
    ]


def _curves() -> list[Panel]:
    hourly = Head(
        31,
        "Finished runs per hour, by status",
        "suffix: /h",
        "How many runs finished per hour, averaged over the look back, by what became of them.",
        NO_RUNS,
    )
    rate = Head(
        32,
        "Success rate, by provider",
        "percentunit",
        "Successful runs of those that succeeded or failed within the look back.",
        NO_RUNS,
    )
    active = Head(
        33,
        "Unfinished runs, by status",
        "short",
        "Runs that wait, are at work, or wait for a person, at each moment.",
        "nothing is active",
    )
    return [
        lines(
            hourly,
            Query(per_hour(RUNS, by="status"), "{{status}}"),
            stacked=True,
            coloured=looks.STATUS_COLOURS,
        ),
        lines(rate, Query(success_rate(RUNS, WINDOW, "provider"), "{{provider}}"), maximum=1),
        *time_curves(),
        lines(
            active,
            Query(total(gauge("ci_pipeline_runs_active"), "status"), "{{status}}"),
            stacked=True,
            coloured=looks.STATUS_COLOURS,
        ),
        _broken_over_time(),
    ]


def _broken_over_time() -> Panel:
    head = Head(
        36,
        "Failing default branches over time",
        "short",
        "How many default branches had a newest run that failed, each trigger by itself.",
        _NO_PROJECT,
    )
    return lines(head, Query(or_zero(f"sum({broken()})", _PROJECTS), "failed"))


def time_curves() -> list[Panel]:
    """Panels 34 and 35: how long runs took and waited."""
    duration = Head(
        34,
        "Duration of runs",
        "s",
        "Half of the runs that finished within the look back took no longer than p50, 95 % no longer"
        " than p95.",
        NO_RUNS,
    )
    queue = Head(
        35,
        "Queue time of runs",
        "s",
        "From creation to first start, of the runs that finished within the look back.",
        NO_RUNS,
    )
    return [lines(duration, *quantiles(DURATION)), lines(queue, *quantiles(QUEUE))]


def quantiles(family: str, *fractions: float, scope: str = SELECTED) -> list[Query]:
    """Quantiles of a histogram within the look back, named p50 and so on; those two, unless told."""
    return [
        Query(quantile(fraction, family, WINDOW, scope=scope), f"p{100 * fraction:g}")
        for fraction in fractions or (0.5, 0.95)
    ]
