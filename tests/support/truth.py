"""What the totals must be, computed from the stand-in's own records and from nothing of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

FINISHED = {"success", "failed", "canceled", "skipped"}
Totals = Counter[tuple[str, ...]]


def expected_runs(truth: Mapping[str, Any], since: datetime | None = None) -> Totals:
    """``(project, ref_kind, source, status) -> executions`` of pipelines, finished at or after *since*."""
    return Counter(
        (entry["project"], entry["ref_kind"], entry["source"], entry["status"])
        for entry in _executions(truth, "pipeline", since)
    )


def expected_jobs(truth: Mapping[str, Any], since: datetime | None = None) -> Totals:
    """``(project, stage, job, status, failure_reason) -> executions`` of jobs."""
    return Counter(
        (
            entry["project"],
            entry["stage"],
            entry["name"],
            entry["status"],
            (entry["failure_reason"] or "unknown") if entry["status"] == "failed" else "",
        )
        for entry in _executions(truth, "job", since)
    )


def _executions(truth: Mapping[str, Any], kind: str, since: datetime | None) -> Iterable[Mapping[str, Any]]:
    """Those of the group that tests watch; the stand-in has projects of users, too."""
    for entry in truth["executions"]:
        if entry["kind"] == kind and entry["project"].startswith("acme/"):
            finished = datetime.fromisoformat(entry["finished_at"] or entry["created_at"])
            if since is None or finished >= since:
                yield entry


def counted_runs(exposition: str) -> Totals:
    """What ``ci_pipeline_runs_total`` says, in the form of `expected_runs`; zeros left out."""
    return _totals(exposition, "ci_pipeline_runs", ("project", "ref_kind", "source", "status"))


def counted_jobs(exposition: str) -> Totals:
    """What ``ci_job_runs_total`` says, in the form of `expected_jobs`."""
    return _totals(exposition, "ci_job_runs", ("project", "stage", "job", "status", "failure_reason"))


def _totals(exposition: str, family: str, labels: tuple[str, ...]) -> Totals:
    return Counter(
        {
            tuple(sample.labels[label] for label in labels): int(sample.value)
            for metric in text_string_to_metric_families(exposition)
            if metric.name == family
            for sample in metric.samples
            if sample.value
        }
    )


def difference(expected: Totals, counted: Totals) -> dict[tuple[str, ...], tuple[int, int]]:
    """``labels -> (expected, counted)`` where they differ; empty when the totals equal the truth."""
    return {
        key: (expected[key], counted[key])
        for key in expected.keys() | counted.keys()
        if expected[key] != counted[key]
    }


def expected_tests(reports: Iterable[Mapping[str, Any]]) -> Totals:
    """``(project, suite, status) -> tests`` of the stand-in's reports, each try of a suite once."""
    total: Totals = Counter()
    for project, suite in _tries(reports):
        for status in ("success", "failed", "error", "skipped"):
            total[project, suite["name"], status] += suite[f"{status}_count"]
    return +total


def expected_suites(reports: Iterable[Mapping[str, Any]]) -> Totals:
    """``(project, suite, status) -> suites`` of the stand-in's reports, each try of a suite once."""
    return Counter((project, suite["name"], _ended(suite)) for project, suite in _tries(reports))


def expected_reports(reports: Iterable[Mapping[str, Any]]) -> Totals:
    """``(project, status) -> reports``, a repeated one once."""
    total: dict[tuple[Any, ...], str] = {}
    for report in reports:
        suites = report["test_suites"]
        statuses = {_ended(suite) for suite in suites}
        key = (report["project"], *sorted((suite["name"], tuple(suite["build_ids"])) for suite in suites))
        if suites:
            total[key] = next((one for one in ("failed", "error") if one in statuses), "success")
    return Counter((key[0], status) for key, status in total.items())


def _tries(reports: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    tries = {
        (report["project"], suite["name"], tuple(suite["build_ids"])): suite
        for report in reports
        for suite in report["test_suites"]
    }
    return [(key[0], suite) for key, suite in tries.items()]


def _ended(suite: Mapping[str, Any]) -> str:
    if suite["suite_error"]:
        return "error"
    return "failed" if suite["failed_count"] or suite["error_count"] else "success"


def counted_tests(exposition: str) -> Totals:
    """What ``ci_test_cases_total`` says, in the form of `expected_tests`; zeros left out."""
    return _totals(exposition, "ci_test_cases", ("project", "suite", "status"))


def counted_suites(exposition: str) -> Totals:
    """What ``ci_test_suite_reports_total`` says, in the form of `expected_suites`."""
    return _totals(exposition, "ci_test_suite_reports", ("project", "suite", "status"))


def counted_reports(exposition: str) -> Totals:
    """What ``ci_test_reports_total`` says, in the form of `expected_reports`."""
    return _totals(exposition, "ci_test_reports", ("project", "status"))
