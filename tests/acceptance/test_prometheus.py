"""A real Prometheus asks what its users ask; the answers equal those from the stand-in's own records."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from collectors.gitlab.standin.client import StandIn
from exporter.ci_families import QUEUE_BUCKETS, RUN_DURATION_BUCKETS
from tests.acceptance.conftest import exporter_config
from tests.acceptance.test_exactly_once import assert_totals_come_true, watched_projects
from tests.support.process import ExporterProcess, wait_until
from tests.support.prometheus import Prometheus


def finished_pipelines(standin: StandIn) -> list[dict[str, Any]]:
    """Every finished execution of a watched pipeline."""
    executions = standin.truth(kind="pipeline")["executions"]
    return [entry for entry in executions if entry["project"].startswith("acme/")]


def quantile(fraction: float, values: Sequence[float], bounds: Sequence[float]) -> float:
    """What a histogram with *bounds* can say of a quantile: linear within the bucket that holds it."""
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    rank, below = fraction * len(values), 0
    for index, count in enumerate(counts[:-1]):
        if below + count >= rank:
            lower = bounds[index - 1] if index else 0
            return lower + (bounds[index] - lower) * (rank - below) / count
        below += count
    return bounds[-1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StandIn, Prometheus]]:
    """A world with history, an exporter that has read it, a Prometheus that was there from the start.

    All tests share it, in any order: they ask for the truth anew, and only one of them adds to it.
    """
    folder = tmp_path_factory.mktemp("world")
    block = {"backfill_days": 6, "refs": {"branches": {"regexp": ".*"}}}
    with ExitStack() as stack:
        standin = stack.enter_context(
            StandIn.start(projects=15, history_days=5, history_pipelines=500, seed=11)
        )
        config = exporter_config(standin, f"sqlite:///{folder}/pipelines.db", block)
        exporter = stack.enter_context(ExporterProcess(folder, config))
        prometheus = stack.enter_context(Prometheus(folder, exporter.url.removeprefix("http://")))
        exporter.start().wait_ready()
        assert_totals_come_true(standin, exporter)
        prometheus.wait_scrapes()
        yield standin, prometheus


def test_answers_are_right(world: tuple[StandIn, Prometheus]) -> None:
    standin, prometheus = world
    entries = finished_pipelines(standin)
    assert len(entries) > 300

    successes = sum(entry["status"] == "success" for entry in entries)
    rate = 'sum(ci_pipeline_runs_total{status="success"}) / sum(ci_pipeline_runs_total)'
    assert prometheus.scalar(rate) == pytest.approx(successes / len(entries))

    durations = [
        entry["duration_seconds"]
        for entry in entries
        if entry["duration_seconds"] is not None and entry["status"] != "skipped"
    ]
    p95 = "histogram_quantile(0.95, sum by (le) (ci_pipeline_run_duration_seconds_bucket))"
    assert prometheus.scalar(p95) == pytest.approx(quantile(0.95, durations, RUN_DURATION_BUCKETS))

    queues = [entry["queue_seconds"] for entry in entries if entry["queue_seconds"] is not None]
    mean = (
        "sum(ci_pipeline_run_queue_duration_seconds_sum) / sum(ci_pipeline_run_queue_duration_seconds_count)"
    )
    assert prometheus.scalar(mean) == pytest.approx(sum(queues) / len(queues), rel=1e-3)
    p50 = "histogram_quantile(0.5, sum by (le) (ci_pipeline_run_queue_duration_seconds_bucket))"
    assert prometheus.scalar(p50) == pytest.approx(quantile(0.5, queues, QUEUE_BUCKETS))


def test_failing_default_branches_are_named(world: tuple[StandIn, Prometheus]) -> None:
    standin, prometheus = world
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    projects = standin.get("/groups/acme/projects?include_subgroups=true&per_page=100")[1]
    branches = {entry["path_with_namespace"]: entry["default_branch"] for entry in projects}
    for entry in finished_pipelines(standin):
        key = (entry["project"], entry["source"])
        is_default = entry["ref_kind"] == "branch" and entry["ref"] == branches.get(entry["project"])
        if is_default and entry["pipeline_id"] >= newest.get(key, entry)["pipeline_id"]:
            newest[key] = entry
    expected = {key for key, entry in newest.items() if entry["status"] == "failed"}
    assert expected
    rows = prometheus.query(
        'ci_pipeline_status{status="failed"} * on (provider, project, ref) group_left ()'
        ' label_replace(ci_project_info, "ref", "$1", "default_branch", "(.+)")'
    )
    assert {(labels["project"], labels["source"]) for labels, _ in rows} == expected


def test_history_is_no_burst_and_new_runs_are_counted(world: tuple[StandIn, Prometheus]) -> None:
    standin, prometheus = world
    grown = "sum(ci_pipeline_runs_total) - sum(min_over_time(ci_pipeline_runs_total[10m]))"
    # Whatever Prometheus saw since its first scrape, the history was in it from the first sample on.
    assert prometheus.scalar(grown) == 0
    assert prometheus.scalar("sum(increase(ci_pipeline_runs_total[10m]))") == 0
    for project in watched_projects(standin)[:5]:
        standin.action("new_pipeline", project=project, story="normal")
    for _ in range(30):
        standin.advance(120)
    wait_until(lambda: prometheus.scalar(grown) == 5, "five new runs in Prometheus")
