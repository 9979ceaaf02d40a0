"""The ``ci_test_*`` families that every CI collector shares: what the tests of a run came to."""

from __future__ import annotations

from exporter.families import Family, counter, gauge, histogram

SUCCESS, FAILED, ERROR, SKIPPED = "success", "failed", "error", "skipped"
CASE_STATUSES = (SUCCESS, FAILED, ERROR, SKIPPED)
"""How one test can end: ``error`` is one that broke before it could tell."""
REPORT_STATUSES = (SUCCESS, FAILED, ERROR)
"""How a suite or a whole report ends: ``error`` is one that could not be understood."""
DURATION_BUCKETS = (1, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)

_REF = ("provider", "project", "ref", "ref_kind", "source")
_CASE = (*_REF, "suite", "class", "case")
_SUITE = ("provider", "project", "suite")
_NEWEST = "newest report of each ref"
_POLLED = "From the last poll, not the moment of the scrape."
_ONCE = "each counted once and kept over restarts."

LAST_CASES = gauge(
    "ci_test_last_cases",
    f"Tests in the newest report of a ref, by how they ended. {_POLLED}",
    (*_REF, "status"),
    source=_NEWEST,
)
LAST_SUITES = gauge(
    "ci_test_last_suites",
    f"Suites in the newest report of a ref, by how they ended. {_POLLED}",
    (*_REF, "status"),
    source=_NEWEST,
)
LAST_DURATION = gauge(
    "ci_test_last_duration_seconds",
    f"How long the tests of the newest report of a ref took, one after the other. {_POLLED}",
    _REF,
    unit="seconds",
    source=_NEWEST,
)
LAST_RUN_ID = gauge(
    "ci_test_last_run_id",
    f"The source's id of the run that the newest report of a ref is of. {_POLLED}",
    _REF,
    source=_NEWEST,
)
LAST_FINISHED = gauge(
    "ci_test_last_finished_timestamp_seconds",
    f"When the run finished that the newest report of a ref is of. {_POLLED}",
    _REF,
    unit="seconds",
    source=_NEWEST,
)
CASE_FAILED = gauge(
    "ci_test_case_failed",
    f"1 for a test that failed in the newest report of a ref (opt-in). {_POLLED}",
    _CASE,
    source=_NEWEST,
)
CASE_FLIPS = gauge(
    "ci_test_case_flips",
    "How often a test began or ceased to fail within the last 20 reports of a ref, of those that did so"
    f" twice or more (opt-in). {_POLLED}",
    _CASE,
    source="reports of each ref",
)
CASES = counter(
    "ci_test_cases_total",
    f"Tests in the reports of finished runs, {_ONCE}",
    (*_SUITE, "status"),
    source="every report",
)
SUITE_REPORTS = counter(
    "ci_test_suite_reports_total",
    f"Suites in the reports of finished runs, {_ONCE}",
    (*_SUITE, "status"),
    source="every report",
)
SUITE_DURATION = counter(
    "ci_test_suite_duration_seconds_total",
    f"How long the tests of a suite took, in all reports together, {_ONCE}",
    _SUITE,
    unit="seconds",
    source="every report",
)
REPORTS = counter(
    "ci_test_reports_total",
    f"Reports of finished runs, {_ONCE}",
    ("provider", "project", "status"),
    source="every report",
)
DURATION = histogram(
    "ci_test_report_duration_seconds",
    "How long the tests of a report took, one after the other, each observed once and kept over restarts.",
    ("provider", "project"),
    buckets=DURATION_BUCKETS,
    unit="seconds",
    source="every report",
)

STATE_FAMILIES: tuple[Family, ...] = (
    LAST_CASES,
    LAST_SUITES,
    LAST_DURATION,
    LAST_RUN_ID,
    LAST_FINISHED,
    CASE_FAILED,
    CASE_FLIPS,
)
TOTAL_FAMILIES: tuple[Family, ...] = (CASES, SUITE_REPORTS, SUITE_DURATION, REPORTS, DURATION)
FAMILIES = STATE_FAMILIES + TOTAL_FAMILIES
