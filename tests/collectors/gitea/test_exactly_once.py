"""Each execution is counted once: re-runs, copies of jobs, restarts, versions without attempts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from collectors._standin.times import HOUR, SECOND, parse
from exporter.errors import SourceError, StoreError
from tests.support.giteas import GiteaLab, gitea
from tests.support.harness import START
from tests.support.truth import counted_jobs, counted_runs, difference, expected_jobs, expected_runs

THREE = (
    {"name": "build", "seconds": 20},
    {"name": "unit", "stage": "test", "seconds": 20, "status": "failed"},
    {"name": "lint", "stage": "test", "seconds": 5},
    {"name": "ship", "stage": "deploy", "seconds": 5},
)
MENDED = tuple({**job, "status": "success"} for job in THREE)


def settle(lab: GiteaLab) -> None:
    lab.run(300, 30)
    truth = lab.server.truth()
    assert difference(expected_runs(truth), counted_runs(lab.exporter.text)) == {}
    assert difference(expected_jobs(truth), counted_jobs(lab.exporter.text)) == {}


def test_a_rerun_is_a_further_execution(lab: GiteaLab) -> None:
    run = lab.pipeline(*THREE)
    lab.run(120, 30)
    lab.act("rerun", project="acme/p", pipeline_id=run, jobs=MENDED)
    settle(lab)
    statuses = {key[3]: count for key, count in counted_runs(lab.exporter.text).items()}
    assert statuses == {"failed": 1, "success": 1}
    assert lab.exporter.value("ci_job_retries_total", job="build") == 1


def test_jobs_that_a_rerun_only_repeats_are_not_counted_again(lab: GiteaLab) -> None:
    run = lab.pipeline(*THREE)
    lab.run(120, 30)
    lab.act("rerun", project="acme/p", pipeline_id=run, jobs=MENDED, failed_only=True)
    settle(lab)
    assert lab.exporter.value("ci_job_runs_total", job="build") == 1
    assert lab.exporter.value("ci_job_runs_total", job="unit") == 2
    assert lab.exporter.value("ci_job_retries_total", job="build") is None


def test_attempts_that_all_ended_between_two_polls_are_counted(lab: GiteaLab) -> None:
    run = lab.pipeline(*THREE)
    lab.advance(100)
    for _ in range(3):
        lab.act("rerun", project="acme/p", pipeline_id=run)
        lab.advance(100)
    settle(lab)
    assert lab.exporter.value("ci_pipeline_runs_total", status="failed") == 4


def test_a_rerun_of_a_run_that_no_first_page_shows_is_found(lab: GiteaLab) -> None:
    old = lab.pipeline()
    lab.run(90, 30)
    for _ in range(60):
        lab.pipeline()
    lab.run(120, 30)
    lab.act("rerun", project="acme/p", pipeline_id=old)
    lab.advance(60)
    settle(lab)
    assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 62


def test_a_restart_in_the_middle_of_many_news_loses_nothing(lab: GiteaLab) -> None:
    for _ in range(120):
        lab.pipeline()
    lab.advance(120)
    state = lab.exporter.rounds.states()[0]
    lab.exporter.rounds.visit(state)
    assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 50
    lab.restart()
    settle(lab)
    assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 120


def test_a_batch_that_was_not_saved_is_read_again(lab: GiteaLab, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(120):
        lab.pipeline()
    lab.advance(120)
    state = lab.exporter.rounds.states()[0]
    lab.exporter.rounds.visit(state)
    with monkeypatch.context() as patch:
        patch.setattr(lab.exporter.store, "save", fail)
        lab.exporter.rounds.visit(state)
    settle(lab)
    assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 120


def fail(*_: object, **__: object) -> None:
    raise StoreError("the disk is full")


def test_runs_that_are_cancelled_or_deleted(lab: GiteaLab) -> None:
    waiting = lab.pipeline({"name": "unit", "queue": 3600})
    running = lab.pipeline({"name": "unit", "seconds": 3600})
    gone = lab.pipeline({"name": "unit", "seconds": 3600})
    lab.run(60, 30)
    for run in (waiting, running):
        lab.act("cancel", project="acme/p", pipeline_id=run)
    lab.act("delete_run", project="acme/p", pipeline_id=gone)
    settle(lab)
    assert lab.exporter.value("ci_pipeline_runs_total", status="canceled") == 2
    assert lab.exporter.value("ci_pipeline_runs_active", project="acme/p") is None


def test_before_gitea_1_27_a_rerun_that_was_seen_is_counted(tmp_path: Path) -> None:
    with gitea(attempts=False) as server:
        server.action("create_project", path="acme/p")
        lab = GiteaLab(server, tmp_path)
        old = lab.pipeline(*THREE)
        lab.run(120, 30)
        for _ in range(60):
            lab.pipeline()
        lab.run(120, 30)
        lab.act("rerun", project="acme/p", pipeline_id=old, jobs=MENDED)
        lab.run(60, 30)
        settle(lab)
        lab.close()


def test_a_run_that_began_long_before_the_start_is_counted_when_it_ends(tmp_path: Path) -> None:
    with gitea(start=parse(START) - HOUR) as server:
        server.action("create_project", path="acme/p")
        server.action("new_pipeline", project="acme/p", jobs=[{"name": "unit", "seconds": 5000}])
        for _ in range(60):
            server.action("new_pipeline", project="acme/p", jobs=[{"name": "unit"}])
        server.advance(HOUR / SECOND)
        lab = GiteaLab(server, tmp_path)
        lab.run(1600, 100)
        assert lab.exporter.value("ci_pipeline_runs_total", status="success") == 1
        lab.close()


def test_a_window_of_the_past_is_read_once(lab: GiteaLab) -> None:
    for _ in range(60):
        lab.pipeline()
        lab.advance(60)
    lab.advance(600)
    state = lab.exporter.rounds.states()[0]
    start, end = lab.clock.now() - timedelta(hours=2), lab.clock.now()
    store, collector = lab.exporter.store, lab.exporter.collector
    for runs in (60, 0):
        batches = list(collector.backfill(state.stored.unit, start, end, store.known(state.stored.id)))
        assert sum(len(batch.runs) for batch in batches) == runs
        for batch in batches:
            store.save(state.stored.id, batch, end)
    lab.restart()
    settle(lab)


def test_a_window_of_the_past_with_runs_that_cannot_be_read_says_so_at_its_end(lab: GiteaLab) -> None:
    runs = [lab.pipeline() for _ in range(3)]
    lab.advance(120)
    state = lab.exporter.rounds.states()[0]
    lab.server.faults({"kind": "wrong_shape", "shape": "null", "path": f"/runs/{runs[1]}$"})
    known = lab.exporter.store.known(state.stored.id)
    start, end = lab.clock.now() - timedelta(hours=1), lab.clock.now()
    brought: list[int] = []

    def read() -> None:
        for batch in lab.exporter.collector.backfill(state.stored.unit, start, end, known):
            brought.extend(run.run_id for run in batch.runs)

    with pytest.raises(SourceError, match="1 runs could not be read"):
        read()
    assert brought == [runs[0], runs[2]]
