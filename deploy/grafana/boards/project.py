"""The board of one project, or a few: refs, triggers, durations, jobs."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from deploy.grafana.boards import looks
from deploy.grafana.boards.board import Row, board, ci_choices, ref_choice
from deploy.grafana.boards.overview import DURATION, NO_RUNS, QUEUE, RUNS, quantiles, time_curves
from deploy.grafana.boards.panels import Column, Head, Query, bars, lines, number, rows, spread, timeline
from deploy.grafana.boards.promql import (
    ACTIVE,
    FAILED,
    RANGE,
    WINDOW,
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

_REF = 'ref=~"$ref"'
_KEYS = "provider, project, pipeline, ref, ref_kind, source"
_NO_REFS = "no ref has series of its own"


def project() -> Dashboard:
    """One project or a few, down to refs and jobs."""
    return board(
        "project",
        "Project",
        "One project, or a few: its refs now, what became of its runs, how long they took, and its jobs."
        " The ref narrows what is known per ref; totals and histograms take all refs.",
        variables=ci_choices(ref_choice()),
        rows=[
            Row(1, "Now and in this time range", _numbers()),
            Row(2, "Refs", _refs()),
            Row(3, "Runs over time", [*_runs(), *time_curves()]),
            Row(4, "Spread of durations and queue times", _spreads(), collapsed=True),
            Row(5, "Jobs", _jobs(), collapsed=True),
        ],
    )


def _numbers() -> list[Panel]:
    rate = Head(
        11, "Success rate", "percentunit", "Successful runs of those that succeeded or failed.", NO_RUNS
    )
    finished = Head(12, "Finished runs", "short", "Runs that finished in the time range.", NO_RUNS)
    active = Head(13, "Active runs", "short", "Runs that wait or are at work now.", "no project is known")
    retries = Head(
        14,
        "Retried jobs",
        "short",
        "Jobs that were started again under the same name in the same run, in the time range.",
        "no job was ever retried",
    )
    middle = Head(15, "Duration, p50", "s", "Half of the runs took no longer than this.", NO_RUNS)
    long = Head(16, "Duration, p95", "s", "95 % of the runs took no longer than this.", NO_RUNS)
    queue = Head(17, "Queue time, p95", "s", "95 % of the runs waited no longer than this to start.", NO_RUNS)
    coverage = Head(
        18,
        "Coverage, mean",
        "percentunit",
        "Mean of the test coverage that the newest runs of the chosen refs reported.",
        "none is reported",
    )
    covered = gauge("ci_pipeline_last_coverage_ratio", _REF)
    waiting = or_zero(total(gauge("ci_pipeline_runs_active", ACTIVE)), select("ci_project_info"))
    return [
        number(rate, success_rate(RUNS, RANGE), looks.SUCCESS),
        number(finished, f"round({total(grown(RUNS, RANGE))})"),
        number(active, waiting),
        number(retries, f"round({total(grown('ci_job_retries_total', RANGE))})", looks.rising(1, 20)),
        number(middle, quantile(0.5, DURATION, RANGE)),
        number(long, quantile(0.95, DURATION, RANGE)),
        number(queue, quantile(0.95, QUEUE, RANGE), looks.rising(60, 600)),
        number(coverage, f"avg({covered})"),
    ]


def _refs() -> list[Panel]:
    head = Head(
        21,
        "Newest run of each ref",
        "none",
        "The newest run of each selected ref and trigger. A run that has not started has no queue"
        " time, and one"
        " that has not finished no duration.",
        _NO_REFS,
        width=24,
        height=10,
    )
    families = (
        "ci_pipeline_last_created_timestamp_seconds",
        "ci_pipeline_last_duration_seconds",
        "ci_pipeline_last_queue_duration_seconds",
        "ci_pipeline_last_coverage_ratio",
        "ci_pipeline_last_run_id",
    )
    asked = [f"max by ({_KEYS}, status) ({select('ci_pipeline_status', _REF)} == 1)"]
    asked += [f"max by ({_KEYS}) ({select(family, _REF)})" for family in families]
    asked[1] = f"1000 * {asked[1]}"
    columns = [
        Column("provider", "Provider", width=120),
        Column("project", "Project"),
        Column("pipeline", "Pipeline"),
        Column("ref", "Ref"),
        Column("ref_kind", "Kind", width=130),
        Column("source", "Trigger"),
        Column("status", "Status", mappings=looks.statuses(), width=100),
        Column("B", "Created", "dateTimeFromNow"),
        Column("C", "Duration", "s"),
        Column("D", "Queue time", "s", looks.rising(60, 600)),
        Column("E", "Coverage", "percentunit"),
        Column("F", "Run", "none"),
    ]
    return [rows(head, asked, columns, "Created"), _history()]


def _history() -> Panel:
    head = Head(
        22,
        "Status of the newest run, over time",
        "none",
        "What the newest run of each selected ref was at each moment. Choose a ref above if there are many.",
        _NO_REFS,
        width=24,
        height=9,
    )
    ours = [select("ci_pipeline_status", _REF, f'status="{status}"') for status in looks.STATUS_NUMBERS]
    numbers = [f"{number} * ({series} == 1)" for number, series in enumerate(ours, 1)]
    expr = f"max by (project, ref, source) ({' or '.join(numbers)})"
    return timeline(head, Query(expr, "{{project}} {{ref}} ({{source}})"), looks.status_numbers())


def _runs() -> list[Panel]:
    head = Head(
        31,
        "Finished runs per hour, by status",
        "suffix: /h",
        "How many runs finished per hour, averaged over the look back, by what became of them.",
        NO_RUNS,
    )
    triggers = Head(
        32,
        "Finished runs per hour, by trigger",
        "suffix: /h",
        "How many runs finished per hour, averaged over the look back, by what started them.",
        NO_RUNS,
    )
    kinds = Head(
        33,
        "Success rate, by kind of ref",
        "percentunit",
        "Successful runs of those that succeeded or failed within the look back: branches, tags, change"
        " requests.",
        NO_RUNS,
    )
    newest = Head(
        36,
        "Duration of the newest run, by ref",
        "s",
        "How long the newest finished run of each chosen ref took, one trigger as the other.",
        _NO_REFS,
    )
    each = f"max by (project, ref) ({select('ci_pipeline_last_duration_seconds', _REF)})"
    return [
        lines(
            head,
            Query(per_hour(RUNS, by="status"), "{{status}}"),
            stacked=True,
            coloured=looks.STATUS_COLOURS,
        ),
        lines(triggers, Query(per_hour(RUNS, by="source"), "{{source}}"), stacked=True),
        lines(kinds, Query(success_rate(RUNS, WINDOW, "ref_kind"), "{{ref_kind}}"), maximum=1),
        lines(newest, Query(each, "{{project}} {{ref}}")),
    ]


def _spreads() -> list[Panel]:
    duration = Head(
        41, "Spread of durations", "s", "How many runs finished, by how long they took.", NO_RUNS, height=9
    )
    queue = Head(
        42,
        "Spread of queue times",
        "s",
        "How many runs finished, by how long they waited.",
        NO_RUNS,
        height=9,
    )
    return [
        spread(duration, Query(total(grown(f"{DURATION}_bucket", "$__rate_interval"), "le"))),
        spread(queue, Query(total(grown(f"{QUEUE}_bucket", "$__rate_interval"), "le"))),
    ]


def _jobs() -> list[Panel]:
    name = "stage, exported_job"
    legend = "{{stage}} / {{exported_job}}"
    slow = Head(
        51,
        "Slowest jobs",
        "s",
        "The ten jobs with the greatest p95 of the duration in the time range.",
        "no job finished in this time range",
    )
    failing = Head(
        52,
        "Jobs that failed most",
        "short",
        "The ten jobs that failed most in the time range.",
        "no job failed in this time range",
    )
    queue = Head(
        53,
        "Queue time of jobs",
        "s",
        "How long jobs waited for a runner, of those that finished within the look back.",
        "no job finished in this time range",
        width=24,
    )
    failed = f"round({total(grown('ci_job_runs_total', RANGE, FAILED), name)})"
    return [
        bars(slow, Query(top(10, quantile(0.95, "ci_job_run_duration_seconds", RANGE, name)), legend)),
        bars(failing, Query(top(10, failed), legend), looks.ANY_IS_BAD),
        lines(queue, *quantiles("ci_job_run_queue_duration_seconds")),
    ]
