"""Reading a past window: whole, in slices that a search can show, and only once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from exporter.rounds.backfill import Progress, backfill
from tests.support.githubs import GitHubLab
from tests.support.truth import counted_jobs, counted_runs, difference, expected_jobs, expected_runs


def agrees(lab: GitHubLab) -> None:
    truth = lab.server.truth()
    assert difference(expected_runs(truth), counted_runs(lab.exporter.text)) == {}
    assert difference(expected_jobs(truth), counted_jobs(lab.exporter.text)) == {}


def fill(lab: GitHubLab, start: datetime, end: datetime) -> Progress:
    return backfill(
        lab.exporter.collector,
        lab.exporter.store,
        start=start,
        end=end,
        capacity=1,
        report=lambda _progress: None,
    )


@pytest.fixture
def aged(make_lab: Callable[..., GitHubLab]) -> GitHubLab:
    """Two days of runs, some in bursts, two of them run again much later; nobody looked."""
    lab = make_lab(per_page=7)
    runs = []
    for number in range(30):
        runs.append(lab.pipeline(story="failing" if number % 3 == 0 else "plain"))
        lab.advance(1 if number % 10 else 9_000)
    lab.advance(3_600)
    for run in (runs[0], runs[9]):
        lab.act("rerun", project="acme/p", pipeline_id=run)
    lab.advance(100_000)
    return lab


def test_the_first_poll_reads_what_is_to_be_counted(aged: GitHubLab) -> None:
    aged.exporter.poll()
    agrees(aged)


def test_a_window_is_read_whole_and_once(aged: GitHubLab) -> None:
    now = aged.clock.now()
    start = now - timedelta(days=3)
    assert fill(aged, start, now).failed == 0
    assert aged.calls()["GET /repos/:repo/actions/runs/:id/jobs"] == 30
    assert fill(aged, start, now).failed == 0
    aged.restart()
    aged.exporter.poll()
    agrees(aged)


def test_it_may_be_interrupted_and_run_again(aged: GitHubLab) -> None:
    now = aged.clock.now()
    aged.server.faults({"kind": "status", "status": 500, "path": "/jobs", "probability": 0.5})
    fill(aged, now - timedelta(days=3), now)
    aged.server.faults()
    assert fill(aged, now - timedelta(days=3), now).failed == 0
    aged.restart()
    aged.exporter.poll()
    agrees(aged)


def test_a_run_that_cannot_be_read_is_told_after_all_others(aged: GitHubLab) -> None:
    now = aged.clock.now()
    bad = aged.server.get("/repos/acme/p/actions/runs")[1]["workflow_runs"][-1]["id"]
    aged.server.faults({"kind": "wrong_shape", "path": f"/{bad}/jobs"})
    assert fill(aged, now - timedelta(days=3), now).failed == 1
    aged.restart()
    assert sum(counted_runs(aged.exporter.text).values()) == 30  # of 32
    aged.server.faults()
    aged.exporter.poll()
    agrees(aged)


def test_more_than_a_search_finds_is_read_all_the_same(make_lab: Callable[..., GitHubLab]) -> None:
    lab = make_lab(jobs={"enabled": False})
    lab.act("burst", project="acme/p", count=1_100, seconds=5)
    lab.advance(60)
    lab.exporter.poll()
    assert sum(counted_runs(lab.exporter.text).values()) == 1_100
    assert lab.calls()["GET /repos/:repo/actions/runs"] < 100
