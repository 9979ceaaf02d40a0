"""The board of pull requests and their reports, from the query files in queries/."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from deploy.grafana.boards import looks
from deploy.grafana.boards.board import Row, board, label_choice, source_choice, window_choice
from deploy.grafana.boards.overview import quantiles
from deploy.grafana.boards.panels import Column, Head, Query, bars, lines, number, rows
from deploy.grafana.boards.promql import RANGE, age, gauge, quantile, select, top, total

# These projects are keys of a database, and not those of the CI system: so they have a variable of their own.
_HERE = 'project=~"$report_project"'
_REVIEW, _MERGE = "oneclick_pr_time_to_first_review_seconds", "oneclick_pr_time_to_merge_seconds"
_OPEN, _DAY = 'pr_state="open"', 86400
_NO_REPORTS = "the query gives nothing"


def reports() -> Dashboard:
    """Pull requests: open, late, without reports."""
    return board(
        "reports",
        "Pull requests and reports",
        "Pull requests, their reports and checks, as the shipped query files count them; and how the queries"
        " do.",
        variables=[
            source_choice(),
            label_choice("report_project", "Project", "oneclick_pr_open", "project"),
            window_choice(),
        ],
        rows=[
            Row(1, "Now and today", _numbers()),
            Row(2, "By project", _projects()),
            Row(3, "Over time", _curves()),
            Row(4, "Queries", _queries(), collapsed=True),
        ],
    )


def _sum(family: str, *matchers: str, by: str = "") -> str:
    return total(gauge(f"oneclick_pr_{family}", *matchers, scope=_HERE), by)


def _numbers() -> list[Panel]:
    now = Head(11, "Open", "short", "Pull requests that are open now.", _NO_REPORTS)
    missing = Head(
        12,
        "Open without a due report",
        "short",
        "Open pull requests that lack at least one report that their project expects and that is due.",
        _NO_REPORTS,
    )
    failed = Head(
        13,
        "Failed reports",
        "short",
        "Reports with the result failed, on pull requests that are open or were closed today.",
        _NO_REPORTS,
    )
    oldest = Head(
        14, "Oldest open", "s", "The age of the oldest open pull request.", "no pull request is open"
    )
    merged = Head(15, "Merged today", "short", "Pull requests merged since midnight.", _NO_REPORTS)
    declined = Head(16, "Declined today", "short", "Pull requests declined since midnight.", _NO_REPORTS)
    review = Head(
        17,
        "First review, p50",
        "s",
        "Half of the pull requests that got their first review in the time range waited no longer for it.",
        "no first review in this time range",
    )
    merge = Head(
        18,
        "Merge, p50",
        "s",
        "Half of the pull requests that were merged in the time range were open no longer.",
        "none was merged in this time range",
    )
    ages = gauge("oneclick_pr_oldest_open_age_seconds", scope=_HERE)
    return [
        number(now, _sum("open")),
        number(missing, _sum("missing_report", _OPEN), looks.ANY_IS_BAD),
        number(failed, _sum("result_report", 'result="failed"'), looks.ANY_IS_BAD),
        number(oldest, f"max({ages})", looks.rising(7 * _DAY, 30 * _DAY)),
        number(merged, _sum("closed", 'pr_state="merged"')),
        number(declined, _sum("closed", 'pr_state="declined"')),
        number(review, quantile(0.5, _REVIEW, RANGE, scope=_HERE), looks.rising(_DAY, 3 * _DAY)),
        number(merge, quantile(0.5, _MERGE, RANGE, scope=_HERE)),
    ]


def _projects() -> list[Panel]:
    each = Head(
        21,
        "Projects",
        "none",
        "What is open, late and closed in each project, those with the most missing reports first.",
        _NO_REPORTS,
        width=24,
        height=10,
    )
    by = "project"
    asked = [
        _sum("missing_report", _OPEN, by=by),
        _sum("open", by=by),
        f"max by (project) ({gauge('oneclick_pr_oldest_open_age_seconds', scope=_HERE)})",
        _sum("closed", 'pr_state="merged"', by=by),
        _sum("result_report", 'result="failed"', by=by),
        _sum("check_summary", 'result="failed"', by=by),
    ]
    columns = [
        Column("project", "Project"),
        Column("A", "Without a due report", "short", looks.ANY_IS_BAD),
        Column("B", "Open", "short"),
        Column("C", "Oldest open", "s", looks.rising(7 * _DAY, 30 * _DAY)),
        Column("D", "Merged today", "short"),
        Column("E", "Failed reports", "short", looks.ANY_IS_BAD),
        Column("F", "Failed checks", "short", looks.ANY_IS_BAD),
    ]
    late = Head(
        22,
        "Missing reports, by state",
        "short",
        "Pull requests that lack a due report: open ones, and those closed today in spite of it.",
        "no report is missing",
    )
    merge = Head(
        23,
        "Projects that merge slowest",
        "s",
        "The ten projects with the greatest p50 of the time from opening to merging in the time range.",
        "none was merged in this time range",
    )
    missing = top(15, _sum("missing_report", by="project, pr_state"))
    slow = top(10, quantile(0.5, _MERGE, RANGE, "project", scope=_HERE))
    return [
        rows(each, asked, columns, "Without a due report"),
        bars(late, Query(missing, "{{project}} ({{pr_state}})"), looks.ANY_IS_BAD),
        bars(merge, Query(slow, "{{project}}")),
    ]


def _curves() -> list[Panel]:
    now = Head(31, "Open, by project", "short", "Pull requests that were open at each moment.", _NO_REPORTS)
    missing = Head(
        32,
        "Missing reports, by project",
        "short",
        "Open pull requests that lacked a due report at each moment.",
        _NO_REPORTS,
    )
    results = Head(
        33,
        "Reports, by result",
        "short",
        "Reports on pull requests that were open or were closed on that day. It falls at midnight.",
        _NO_REPORTS,
    )
    checks = Head(
        34,
        "Checks, by result",
        "short",
        "Checks of pull requests that were open or were closed on that day. It falls at midnight.",
        _NO_REPORTS,
    )
    review = Head(
        35,
        "Time to first review",
        "s",
        "From opening to the first review, of the pull requests that got it within the look back.",
        "no first review in this time range",
    )
    merge = Head(
        36,
        "Time to merge",
        "s",
        "From opening to merging, of the pull requests that were merged within the look back.",
        "none was merged in this time range",
    )
    return [
        lines(now, Query(_sum("open", by="project"), "{{project}}"), stacked=True),
        lines(
            missing,
            Query(_sum("missing_report", _OPEN, by="project"), "{{project}}"),
            stacked=True,
        ),
        lines(
            results,
            Query(_sum("result_report", by="result"), "{{result}}"),
            stacked=True,
            coloured=looks.RESULT_COLOURS,
        ),
        lines(
            checks,
            Query(_sum("check_summary", by="result"), "{{result}}"),
            stacked=True,
            coloured=looks.RESULT_COLOURS,
        ),
        lines(review, *quantiles(_REVIEW, scope=_HERE)),
        lines(merge, *quantiles(_MERGE, scope=_HERE)),
    ]


def _queries() -> list[Panel]:
    head = Head(
        41,
        "Queries",
        "none",
        "Each query of the query files. One that fails keeps its last series for a while; the log says why.",
        "no query is configured",
        width=24,
        height=9,
    )
    families = ("success", "last_success_timestamp_seconds", "duration_seconds", "rows")
    asked = [
        f"max by (database, query) ({select(f'ci_exporter_query_{family}', scope='')})" for family in families
    ]
    asked[1] = age(f"({asked[1]})")
    columns = [
        Column("database", "Database"),
        Column("query", "Query"),
        Column("A", "Succeeds", "none", mappings=looks.yes_no(good=True)),
        Column("B", "Last success ago", "s", looks.rising(600, 3600)),
        Column("C", "Duration", "s"),
        Column("D", "Rows", "short"),
    ]
    curve = Head(
        42,
        "Duration of queries",
        "s",
        "How long the last run of each query took, fetching its rows included.",
        "no query is configured",
        width=24,
    )
    each = f"max by (database, query) ({select('ci_exporter_query_duration_seconds', scope='')})"
    return [
        rows(head, asked, columns, "Last success ago"),
        lines(curve, Query(each, "{{database}}: {{query}}")),
    ]
