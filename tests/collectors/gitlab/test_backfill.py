"""History: read before anything is shown, or filled in later without moving what is counted live."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from exporter.errors import SourceError
from exporter.rounds.backfill import Progress, backfill
from tests.support.harness import Lab
from tests.support.truth import counted_jobs, counted_runs, difference, expected_jobs, expected_runs

WORLD = {"projects": 4, "history_days": 9, "history_pipelines": 160, "seed": 5}


def fill(lab: Lab, days: float, *, until: float = 0.0) -> Progress:
    """What ``ci-exporter backfill`` does."""
    now = lab.clock.now()
    return backfill(
        lab.exporter.collector,
        lab.exporter.store,
        start=now - timedelta(days=days),
        end=now - timedelta(days=until),
        capacity=2,
        report=lambda _progress: None,
    )


def shown(lab: Lab) -> set[str]:
    """Projects of which anything is exposed."""
    return {line.split('project="')[1].split('"')[0] for line in lab.exporter.lines("ci_project_info")}


def counters(lab: Lab) -> list[str]:
    """All counter and histogram samples."""
    suffixes = ("_total", "_bucket", "_sum", "_count")
    return [line for line in lab.exporter.text.splitlines() if line.split("{")[0].endswith(suffixes)]


def assert_history(lab: Lab, days: float) -> None:
    since = lab.clock.now() - timedelta(days=days)
    truth = lab.server.truth()
    assert difference(expected_runs(truth, since), counted_runs(lab.exporter.text)) == {}
    # Jobs of a pipeline whose last change is older than the window are not looked at.
    assert difference(expected_jobs(truth, since), counted_jobs(lab.exporter.text)) == {}


def test_a_project_is_first_shown_with_all_its_history(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(world=WORLD, backfill_days=10, per_page=20)
    history = expected_runs(lab.server.truth())
    for state in lab.exporter.rounds.states():
        project, visits = state.stored.unit.name, 0
        while True:
            assert project not in shown(lab)
            visit = lab.exporter.rounds.visit(state)
            visits += 1
            if visit and visit.wait:
                break
        assert visits > 1
        first = {key: n for key, n in counted_runs(lab.exporter.text).items() if key[0] == project}
        assert first == {key: n for key, n in history.items() if key[0] == project}
    assert_history(lab, 10)


def test_only_as_many_days_as_wanted(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(world=WORLD, backfill_days=3)
    lab.exporter.poll()
    assert_history(lab, 3)


@pytest.mark.no_cover  # long, through code that smaller tests cover
def test_a_kill_in_the_middle_loses_and_doubles_nothing(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(world=WORLD, backfill_days=10, per_page=10)
    for calls in range(10, 200, 37):
        lab.server.faults({"kind": "drop", "skip": calls})
        lab.exporter.poll()
        lab.server.faults()
        lab.restart()
    lab.exporter.poll()
    assert_history(lab, 10)


def test_older_days_leave_live_counters_byte_for_byte(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(world=WORLD)
    lab.run(120, 30)
    lab.pipeline(project=lab.exporter.rounds.states()[0].stored.unit.name)
    lab.run(120, 30)
    before = counters(lab)
    progress = fill(lab, 8, until=0.1)
    assert (progress.failed, progress.counted, progress.units_done) == (0, 0, 4)
    assert progress.runs > 100
    lab.exporter.rounds.follow()
    assert counters(lab) == before
    again = fill(lab, 8, until=0.1)
    assert again.runs == 0


def test_a_second_backfill_reads_no_details(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(world=WORLD)
    fill(lab, 8)
    lab.calls()
    fill(lab, 8)
    assert set(lab.calls()) == {"GET /projects", "GET /projects/:id/pipelines"}


@pytest.mark.no_cover
def test_an_interrupted_backfill_goes_on_where_it_was(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(world=WORLD)
    lab.server.faults({"kind": "status", "status": 429, "retry_after": 3600, "skip": 150})
    first = fill(lab, 8)
    assert first.failed > 0
    lab.server.faults()
    lab.restart()
    second = fill(lab, 8)
    assert second.failed == 0
    lab.restart()
    assert fill(lab, 8).runs == 0


def test_one_broken_pipeline_costs_only_itself(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(world=WORLD, per_page=1)
    truth = lab.server.truth(kind="pipeline", project_id=101)["executions"]
    broken = truth[len(truth) // 2]["pipeline_id"]
    lab.server.faults({"kind": "status", "status": 500, "path": f"/pipelines/{broken}$"})
    states = {state.stored.unit.key: state for state in lab.exporter.rounds.states()}
    unit = states["101"].stored
    known = lab.exporter.store.known(unit.id)
    end = lab.clock.now()
    batches: list[Any] = []

    def read_all() -> None:
        for batch in lab.exporter.collector.backfill(unit.unit, end - timedelta(days=9), end, known):
            lab.exporter.store.save(unit.id, batch, end)
            batches.append(batch)

    with pytest.raises(SourceError, match="1 pipelines could not be read"):
        read_all()
    read = {run.run_id for batch in batches for run in batch.runs}
    assert {entry["pipeline_id"] for entry in truth} - read == {broken}


@pytest.mark.no_cover
def test_memory_is_bounded(lab_of: Callable[..., Lab]) -> None:
    lab = lab_of(world={"projects": 1, "history_days": 5, "history_pipelines": 160})
    (state,) = lab.exporter.rounds.states()
    unit, end = state.stored, lab.clock.now()
    sizes = []
    known = lab.exporter.store.known(unit.id)
    for batch in lab.exporter.collector.backfill(unit.unit, end - timedelta(days=6), end, known):
        sizes.append(len({run.run_id for run in batch.runs if run.source != "parent_pipeline"}))
        lab.exporter.store.save(unit.id, batch, end)
    assert max(sizes) <= 50
    assert len(sizes) >= 3
