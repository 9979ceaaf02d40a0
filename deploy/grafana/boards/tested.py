"""The row of the board of jobs about tests: how many fail, in which suites, which are flaky."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from deploy.grafana.boards import looks
from deploy.grafana.boards.board import address, field
from deploy.grafana.boards.panels import Column, Head, Query, lines, number, rows
from deploy.grafana.boards.promql import RANGE, gauge, grown, per_hour, quantile, share, total

_BAD, _RAN = 'status=~"failed|error"', 'status!="skipped"'
_CASES, _SUITES, _REPORTS = "ci_test_cases_total", "ci_test_suite_reports_total", "ci_test_reports_total"
_SUITE = "provider, project, suite"
_REF = "provider, project, ref, ref_kind, source"
_CASE = "provider, project, ref, suite, class, case"
_NONE = "no tests were reported in this time range"
_NAMED = " This is opt-in: collectors.gitlab_tests.cases.enabled."


def tests() -> list[Panel]:
    """The panels of the row."""
    return [*_numbers(), *_suites(), _newest(), _cases()]


def _numbers() -> list[Panel]:
    ran = Head(61, "Tests", "short", "Tests in the reports of runs that finished in the time range.", _NONE)
    bad = Head(62, "Failed tests", "percentunit", "Of the tests that were not skipped.", _NONE)
    reports = Head(63, "Reports with failures", "percentunit", "Of all reports of finished runs.", _NONE)
    long = Head(64, "Tests of a run, p95", "s", "In 95 % of the reports, all tests took no longer.", _NONE)
    return [
        number(ran, f"round({total(grown(_CASES, RANGE))})"),
        number(bad, share(grown(_CASES, RANGE, _BAD), grown(_CASES, RANGE, _RAN)), looks.rising(0.01, 0.05)),
        number(reports, share(grown(_REPORTS, RANGE, _BAD), grown(_REPORTS, RANGE)), looks.rising(0.1, 0.3)),
        number(long, quantile(0.95, "ci_test_report_duration_seconds", RANGE)),
    ]


def _project() -> list[Column]:
    to_project = (
        "Open the project",
        address("project", provider=field("Provider"), project=field("Project")),
    )
    return [Column("provider", "Provider", width=120), Column("project", "Project", link=to_project)]


def _suites() -> list[Panel]:
    curve = Head(
        65,
        "Failed tests per hour, by project",
        "suffix: /h",
        "How many tests failed, or broke before they could tell, averaged over the look back.",
        _NONE,
    )
    each = Head(
        66,
        "Suites",
        "none",
        "Suites in the reports of the time range, those that failed most often first. A suite is a job, or"
        " all parallel jobs of a name.",
        _NONE,
        height=9,
    )
    counted = f"round({total(grown(_SUITES, RANGE), _SUITE)}) > 0"
    seconds = total(grown("ci_test_suite_duration_seconds_total", RANGE), _SUITE)
    asked = [
        f"round({total(grown(_SUITES, RANGE, _BAD), _SUITE)})",
        counted,
        share(grown(_CASES, RANGE, _BAD), grown(_CASES, RANGE, _RAN), _SUITE),
        f"{seconds} / ({total(grown(_SUITES, RANGE), _SUITE)} > 0)",
    ]
    columns = [
        *_project(),
        Column("suite", "Suite"),
        Column("A", "Failed", "short", looks.ANY_IS_BAD),
        Column("B", "Reports", "short"),
        Column("C", "Failed tests", "percentunit", looks.rising(0.01, 0.05)),
        Column("D", "Mean duration", "s"),
    ]
    bad = Query(per_hour(_CASES, _BAD, by="project"), "{{project}}")
    return [lines(curve, bad, stacked=True), rows(each, asked, columns, "Failed")]


def _newest() -> Panel:
    head = Head(
        67,
        "Newest report of each ref",
        "none",
        "What the tests of the newest run of each selected ref came to, of those runs that reported any.",
        "no tests were reported for a selected ref",
        height=9,
    )
    asked = [
        f"1000 * max by ({_REF}) ({gauge('ci_test_last_finished_timestamp_seconds')})",
        f"sum by ({_REF}) ({gauge('ci_test_last_cases', _RAN)})",
        f"sum by ({_REF}) ({gauge('ci_test_last_cases', _BAD)})",
        f"sum by ({_REF}) ({gauge('ci_test_last_suites', _BAD)})",
        f"max by ({_REF}) ({gauge('ci_test_last_duration_seconds')})",
        f"max by ({_REF}) ({gauge('ci_test_last_run_id')})",
    ]
    columns = [
        *_project(),
        Column("ref", "Ref"),
        Column("ref_kind", "Kind", width=130),
        Column("source", "Source", width=130),
        Column("A", "Finished", "dateTimeFromNow"),
        Column("B", "Tests", "short"),
        Column("C", "Failed", "short", looks.ANY_IS_BAD),
        Column("D", "Failed suites", "short", looks.ANY_IS_BAD),
        Column("E", "Duration", "s"),
        Column("F", "Run id", "none"),
    ]
    return rows(head, asked, columns, "Finished")


def _cases() -> Panel:
    head = Head(
        68,
        "Failing and flaky tests",
        "none",
        "Tests that failed in the newest report of a ref, and those that began or ceased to fail at least"
        f" twice within its last 20 reports.{_NAMED}",
        "no test fails or is flaky, or tests are not named: collectors.gitlab_tests.cases.enabled",
        height=9,
    )
    failed = f"max by ({_CASE}) ({gauge('ci_test_case_failed')})"
    flaky = f"max by ({_CASE}) ({gauge('ci_test_case_flips')})"
    asked = [f"{flaky} or 0 * {failed}", f"{failed} or 0 * {flaky}"]
    columns = [
        *_project(),
        Column("ref", "Ref", width=130),
        Column("suite", "Suite"),
        Column("class", "Class"),
        Column("case", "Test"),
        Column("A", "Flips", "short", looks.rising(2, 4)),
        Column("B", "Fails now", "none", mappings=looks.yes_no(good=False)),
    ]
    return rows(head, asked, columns, "Flips")
