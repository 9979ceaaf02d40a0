"""The board of jobs: which fail, which are flaky, which are slow, and what their tests say."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from deploy.grafana.boards import looks
from deploy.grafana.boards.board import Row, address, board, ci_choices, field, label_choice, ref_choice
from deploy.grafana.boards.overview import quantiles
from deploy.grafana.boards.panels import Column, Head, Query, bars, lines, number, rows
from deploy.grafana.boards.promql import (
    FAILED,
    RANGE,
    SELECTED,
    WINDOW,
    gauge,
    grown,
    once,
    quantile,
    select,
    share,
    success_rate,
    top,
    total,
)
from deploy.grafana.boards.tested import tests

# Prometheus has a label `job` of its own, and so calls ours `exported_job`: see README.md here.
_SCOPE = f'{SELECTED}, exported_job=~"$ci_job"'
_RUNS, _RETRIES = "ci_job_runs_total", "ci_job_retries_total"
_DURATION, _QUEUE = "ci_job_run_duration_seconds", "ci_job_run_queue_duration_seconds"
_EACH = "provider, project, stage, exported_job"
_LEGEND = "{{project}}: {{stage}} / {{exported_job}}"
_NO_JOBS = "no job finished in this time range"
_NO_RETRIES = "no job was retried in this time range"
_TOTALS = (
    " A combination of job, status and reason that was never seen before begins with its first event, and"
    " Prometheus sees an increase only from the second on."
)


def jobs() -> Dashboard:
    """Jobs: failures and their reasons, retries, durations, waiting times."""
    series = 'ci_job_runs_total{provider=~"$provider", project=~"$project"}'
    return board(
        "jobs",
        "Jobs and flaky jobs",
        "Which jobs fail and why, which succeed only when tried again, which are slow, what tests say.",
        variables=ci_choices(ref_choice(), label_choice("ci_job", "Job", series, "exported_job")),
        rows=[
            Row(1, "In this time range", _numbers()),
            Row(2, "Flaky jobs: retries", _flaky()),
            Row(3, "Failures and their reasons", _failures()),
            Row(4, "Durations and queue times", _times()),
            Row(6, "Tests (needs collectors.gitlab_tests)", tests()),
            Row(5, "Newest job of each ref (needs jobs.status: true)", [_newest()], collapsed=True),
        ],
    )


def _grown(family: str, *matchers: str, window: str = RANGE) -> str:
    return grown(family, window, *matchers, scope=_SCOPE)


def _per_hour(family: str, *matchers: str, by: str) -> str:
    rate = once(f"rate({select(family, *matchers, scope=_SCOPE)}[{WINDOW}])")
    return f"3600 * {total(rate, by)}"


def _numbers() -> list[Panel]:
    finished = Head(11, "Finished jobs", "short", "Jobs that finished in the time range.", _NO_JOBS)
    rate = Head(
        12, "Success rate", "percentunit", "Successful jobs of those that succeeded or failed.", _NO_JOBS
    )
    retried = Head(
        13,
        "Retries",
        "short",
        f"Jobs that were started again under the same name in the same run.{_TOTALS}",
        _NO_RETRIES,
    )
    ratio = Head(
        14,
        "Retries per job",
        "percentunit",
        "Retries of the jobs that finished: how much of the work is done again.",
        _NO_RETRIES,
    )
    system = Head(
        15,
        "Failures not of the script",
        "percentunit",
        f"Of the failed jobs, the share that failed for another reason than the script itself.{_TOTALS}",
        "no job failed in this time range",
    )
    long = Head(16, "Duration, p95", "s", "95 % of the jobs ran no longer than this.", _NO_JOBS)
    queue = Head(
        17, "Queue time, p95", "s", "95 % of the jobs waited no longer than this for a runner.", _NO_JOBS
    )
    failing = Head(
        18, "Failing jobs", "short", "How many jobs, by project, stage and name, failed.", _NO_JOBS
    )
    failed = _grown(_RUNS, FAILED)
    other = _grown(_RUNS, FAILED, 'failure_reason!="script_failure"')
    return [
        number(finished, f"round({total(_grown(_RUNS))})"),
        number(rate, success_rate(_RUNS, RANGE, scope=_SCOPE), looks.SUCCESS),
        number(retried, f"round({total(_grown(_RETRIES))})"),
        number(ratio, share(_grown(_RETRIES), _grown(_RUNS)), looks.rising(0.02, 0.1)),
        number(system, share(other, failed), looks.rising(0.1, 0.5)),
        number(long, quantile(0.95, _DURATION, RANGE, scope=_SCOPE)),
        number(queue, quantile(0.95, _QUEUE, RANGE, scope=_SCOPE), looks.rising(60, 600)),
        number(failing, f"count({total(failed, _EACH)} > 0)", looks.ANY_IS_BAD),
    ]


def _names() -> list[Column]:
    to_project = (
        "Open the project",
        address("project", provider=field("Provider"), project=field("Project")),
    )
    return [
        Column("provider", "Provider", width=120),
        Column("project", "Project", link=to_project),
        Column("stage", "Stage"),
        Column("exported_job", "Job"),
    ]


def _flaky() -> list[Panel]:
    each = Head(
        21,
        "Flaky jobs",
        "none",
        "Jobs that were retried in the time range, the most often first. Retries per job is of those that"
        f" finished.{_TOTALS}",
        _NO_RETRIES,
        width=14,
        height=9,
    )
    asked = [
        f"round({total(_grown(_RETRIES), _EACH)}) > 0",
        share(_grown(_RETRIES), _grown(_RUNS), _EACH),
        f"round({total(_grown(_RUNS), _EACH)}) > 0",
        f"round({total(_grown(_RUNS, FAILED), _EACH)})",
    ]
    values = [
        Column("A", "Retries", "short"),
        Column("B", "Retries per job", "percentunit", looks.rising(0.02, 0.1)),
        Column("C", "Finished", "short"),
        Column("D", "Failed", "short", looks.ANY_IS_BAD),
    ]
    curve = Head(
        22,
        "Retries per hour, by project",
        "suffix: /h",
        "How many jobs were started again per hour, averaged over the look back.",
        "no job was ever retried",
        width=10,
        height=9,
    )
    return [
        rows(each, asked, [*_names(), *values], "Retries"),
        lines(curve, Query(_per_hour(_RETRIES, by="project"), "{{project}}"), stacked=True),
    ]


def _failures() -> list[Panel]:
    reasons = Head(
        31,
        "Failed jobs per hour, by reason",
        "suffix: /h",
        f"How many jobs failed per hour, averaged over the look back, by the reason that the source"
        f" gives.{_TOTALS}",
        "no job ever failed",
    )
    share_of = Head(
        32,
        "Reasons of failures",
        "short",
        f"How many jobs failed in the time range, by the reason that the source gives.{_TOTALS}",
        "no job failed in this time range",
    )
    each = Head(
        33,
        "Failing jobs",
        "none",
        f"Jobs that failed in the time range, by reason, the most often first.{_TOTALS}",
        "no job failed in this time range",
        height=9,
    )
    rate = Head(
        34,
        "Success rate of the least successful stages",
        "percentunit",
        "The ten stages with the least share of success among the jobs that succeeded or failed"
        " within the look back. Systems whose jobs have no stages are left out.",
        _NO_JOBS,
        height=9,
    )
    by_reason = f"round({total(_grown(_RUNS, FAILED), 'failure_reason')})"
    staged = f'{_SCOPE}, stage!=""'
    worst = f"bottomk(10, {success_rate(_RUNS, WINDOW, 'project, stage', scope=staged)})"
    listed = f"round({total(_grown(_RUNS, FAILED), f'{_EACH}, failure_reason')}) > 0"
    columns = [*_names(), Column("failure_reason", "Reason"), Column("A", "Failed", "short")]
    return [
        lines(
            reasons,
            Query(_per_hour(_RUNS, FAILED, by="failure_reason"), "{{failure_reason}}"),
            stacked=True,
        ),
        bars(share_of, Query(top(15, by_reason), "{{failure_reason}}"), looks.ANY_IS_BAD),
        rows(each, [listed], columns, "Failed"),
        lines(rate, Query(worst, "{{project}}: {{stage}}"), maximum=1),
    ]


def _times() -> list[Panel]:
    slow = Head(41, "Slowest jobs", "s", "The ten jobs with the greatest p95 of the duration.", _NO_JOBS)
    waiting = Head(
        42, "Jobs that wait longest", "s", "The ten jobs with the greatest p95 of the queue time.", _NO_JOBS
    )
    duration = Head(
        43, "Duration of jobs", "s", "How long the jobs ran that finished within the look back.", _NO_JOBS
    )
    queue = Head(
        44,
        "Queue time of jobs",
        "s",
        "How long the jobs waited for a runner that finished within the look back.",
        _NO_JOBS,
    )
    return [
        bars(slow, Query(top(10, quantile(0.95, _DURATION, RANGE, _EACH, scope=_SCOPE)), _LEGEND)),
        bars(waiting, Query(top(10, quantile(0.95, _QUEUE, RANGE, _EACH, scope=_SCOPE)), _LEGEND)),
        lines(duration, *quantiles(_DURATION, scope=_SCOPE)),
        lines(queue, *quantiles(_QUEUE, scope=_SCOPE)),
    ]


def _newest() -> Panel:
    head = Head(
        51,
        "Newest jobs",
        "none",
        "The newest job of each name in the newest run of each selected ref. These families are opt-in:"
        " collectors.gitlab.jobs.status.",
        "no such series: set jobs.status: true in the configuration",
        width=24,
        height=12,
    )
    scope, ref = _SCOPE, 'ref=~"$ref"'
    keys = f"{_EACH}, ref, ref_kind"
    status = f"max by ({keys}, status) ({select('ci_job_status', ref, scope=scope)} == 1)"
    families = (
        "ci_job_last_finished_timestamp_seconds",
        "ci_job_last_duration_seconds",
        "ci_job_last_queue_duration_seconds",
        "ci_job_last_id",
    )
    asked = [f"max by ({keys}) ({gauge(family, ref, scope=scope)})" for family in families]
    asked[0] = f"1000 * {asked[0]}"
    columns = [
        *_names(),
        Column("ref", "Ref"),
        Column("ref_kind", "Kind", width=130),
        Column("status", "Status", mappings=looks.statuses(), width=100),
        Column("B", "Finished", "dateTimeFromNow"),
        Column("C", "Duration", "s"),
        Column("D", "Queue time", "s", looks.rising(60, 600)),
        Column("E", "Job id", "none"),
    ]
    return rows(head, [status, *asked], columns, "Finished")
