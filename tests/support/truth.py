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
