"""Forgejo, as far as it can be watched: runs of each repository, and its tasks in place of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collectors.gitea import forgejo as words
from exporter.model.runs import RefKind, Status
from tests.support.giteas import GiteaLab, forgejo
from tests.support.truth import counted_jobs, counted_runs, difference, expected_jobs, expected_runs

JOBS = (
    {"name": "build", "seconds": 20},
    {"name": "unit", "stage": "test", "seconds": 40},
    {"name": "lint", "stage": "test", "seconds": 10},
)
RUN: dict[str, Any] = {
    "id": 7,
    "workflow_id": "ci.yml",
    "index_in_repo": 3,
    "prettyref": "main",
    "event": "push",
    "trigger_event": "push",
    "event_payload": '{"ref": "refs/heads/main"}',
    "status": "success",
    "created": "2026-03-02T08:00:00Z",
    "started": "2026-03-02T08:00:04Z",
    "stopped": "2026-03-02T08:01:00Z",
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[GiteaLab]:
    with forgejo() as server:
        server.action("create_project", path="acme/p")
        made = GiteaLab(server, tmp_path)
        made.exporter.poll()
        yield made
        made.close()


def settle(lab: GiteaLab) -> None:
    lab.run(180, 30)
    truth = lab.server.truth()
    assert difference(expected_runs(truth), counted_runs(lab.exporter.text)) == {}
    assert difference(expected_jobs(truth), counted_jobs(lab.exporter.text)) == {}


def test_runs_and_tasks_are_counted_once(lab: GiteaLab) -> None:
    run = lab.pipeline(*JOBS)
    for _ in range(3):
        lab.pipeline()
    lab.run(120, 30)
    lab.restart()
    lab.act("rerun", project="acme/p", pipeline_id=run)
    settle(lab)
    assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 5
    assert lab.exporter.value("ci_job_retries_total", job="build") == 1
    assert lab.exporter.value("ci_job_run_queue_duration_seconds_count") is None
    assert lab.exporter.value("ci_pipeline_run_queue_duration_seconds_count") == 4


@pytest.mark.parametrize("status", ["running", "waiting", "blocked"])
def test_a_run_goes_on_until_it_has_ended(status: str) -> None:
    run = words.run(RUN | {"status": status, "stopped": "0001-01-01T00:00:00Z"}, unknown=lambda _: None)
    assert run.status is Status.RUNNING
    run = words.run(RUN | {"status": status, "started": "0001-01-01T00:00:00Z"}, unknown=lambda _: None)
    assert run.status is {**words.STATUSES}[status]


@pytest.mark.parametrize(
    ("changed", "kind", "ref"),
    [
        ({}, RefKind.BRANCH, "main"),
        ({"event_payload": '{"ref": "refs/tags/v1"}', "prettyref": "v1"}, RefKind.TAG, "v1"),
        ({"event_payload": "", "prettyref": "#5"}, RefKind.CHANGE_REQUEST, "refs/pull/5/head"),
        ({"event_payload": "{", "prettyref": "dev"}, RefKind.BRANCH, "dev"),
    ],
)
def test_refs(changed: dict[str, str], kind: RefKind, ref: str) -> None:
    run = words.run(RUN | changed, unknown=lambda _: None)
    assert (run.ref_kind, run.ref) == (kind, ref)


def test_it_is_known_by_its_version() -> None:
    assert words.is_forgejo("11.0.1+gitea-1.22.0")
    assert not words.is_forgejo("1.27.3")
    assert not words.is_forgejo("1.28.0+dev-12-g1234567")
