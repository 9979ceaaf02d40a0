"""The simulated world: equal seeds, equal truth, and truth that agrees with what the API shows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors._standin.times import HOUR, MINUTE, iso, parse
from collectors.gitlab.standin.composite import composite, latest, union_seconds
from collectors.gitlab.standin.history import jobs_of
from collectors.gitlab.standin.options import Options
from collectors.gitlab.standin.records import COMPLETED, KNOWN_STATUSES
from collectors.gitlab.standin.stories import STORIES
from collectors.gitlab.standin.world import World

START = 1_780_000_000_000
LIVELY = Options(
    start=START,
    projects=25,
    history_days=2,
    history_pipelines=150,
    pipelines_per_hour=120,
    changes_per_hour=30,
)
SPAN = 2 * HOUR


def told(world: World) -> list[Any]:
    return list(world.truth())


@pytest.fixture(scope="module")
def at_once() -> World:
    world = World(LIVELY)
    world.advance(SPAN)
    return world


# Other tests go through the same code once; measuring all of it again would double the time.
@pytest.mark.no_cover
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, SPAN), max_size=40))
def test_any_partition_of_time_gives_the_same_truth(at_once: World, cuts: list[int]) -> None:
    world = World(LIVELY)
    for moment in sorted(cuts):
        world.advance(moment - (world.now - START))
    world.advance(SPAN - (world.now - START))
    assert world.now == at_once.now
    assert told(world) == told(at_once)


@pytest.mark.no_cover  # long, through code that smaller tests cover
def test_reading_changes_nothing(browse: Any) -> None:
    read, unread = (
        browse(pipelines_per_hour=60, history_days=1),
        browse(pipelines_per_hour=60, history_days=1),
    )
    for _ in range(30):
        read.run(120)
        unread.run(120)
        for project in read.json("/projects"):
            read.get(f"/projects/{project['id']}/jobs?per_page=100")
            read.get(f"/projects/{project['id']}/pipelines?scope=branches")
    assert read.truth() == unread.truth()


def test_another_seed_is_another_world(at_once: World) -> None:
    other = World(Options(start=START, seed=2, projects=25, pipelines_per_hour=120))
    other.advance(SPAN)
    assert other.ledger.entries
    assert other.ledger.entries != at_once.ledger.entries


def test_no_execution_is_told_twice(at_once: World) -> None:
    names = [(entry.kind, entry.job_id or entry.pipeline_id, entry.execution) for entry in at_once.truth()]
    assert len(set(names)) == len(names)
    assert all(entry.recorded_at <= at_once.now for entry in at_once.truth())


def test_the_last_execution_is_what_the_pipeline_shows(at_once: World) -> None:
    last = {entry.pipeline_id: entry for entry in at_once.truth() if entry.kind == "pipeline"}
    shown = [pipeline for pipeline in at_once.engine.pipelines.values() if pipeline.status in COMPLETED]
    assert len(shown) > 200
    for pipeline in shown:
        entry = last[pipeline.id]
        assert (entry.status, entry.finished_at, entry.duration_seconds, entry.execution) == (
            pipeline.status,
            pipeline.finished_at,
            pipeline.duration,
            pipeline.execution,
        )


def test_every_ended_job_that_is_shown_was_told(at_once: World) -> None:
    told_jobs = {(entry.job_id, entry.status, entry.finished_at) for entry in at_once.truth() if entry.job_id}
    for pipeline in at_once.engine.pipelines.values():
        for job in jobs_of(pipeline):
            if job.status in COMPLETED:
                assert (job.id, job.status, job.finished_at) in told_jobs


def test_truth_without_jobs_is_the_same_for_pipelines(at_once: World) -> None:
    assert list(at_once.truth(jobs=False)) == [entry for entry in at_once.truth() if entry.kind == "pipeline"]


def test_pipelines_are_kept_in_the_order_of_their_updates(at_once: World) -> None:
    for project in at_once.people.projects.values():
        times = [pipeline.updated_at for pipeline in project.by_update.values()]
        assert times == sorted(times)
        assert set(project.by_update) == set(project.pipelines)


def test_history_is_consistent_with_its_jobs() -> None:
    world = World(Options(start=START, projects=20, history_days=10, history_pipelines=2_000))
    assert any(pipeline.is_child for pipeline in world.past)
    ids = []
    for pipeline in world.past:
        pipeline.jobs = jobs = jobs_of(pipeline)
        ids += [job.id for job in jobs]
        assert pipeline.updated_at < START
        if jobs:
            assert composite(latest(pipeline)) == pipeline.status
        for job in jobs:
            moments = [job.created_at, job.queued_at, job.started_at, job.finished_at]
            known = [moment for moment in moments if moment is not None]
            assert known == sorted(known)
        if pipeline.started_at and pipeline.child is None:
            assert union_seconds(pipeline, START) == pipeline.duration
    assert len(set(ids)) == len(ids)


def test_all_stories_together_show_every_status_of_today() -> None:
    evenly = dict.fromkeys(STORIES, 1.0)
    world = World(Options(start=START, projects=8, pipelines_per_hour=400, stories=evenly))
    seen: set[str] = set()
    for _ in range(3 * HOUR // MINUTE * 12):
        world.advance(MINUTE // 12)
        seen |= {pipeline.status for pipeline in world.engine.pipelines.values()}
    sources = {pipeline.source for pipeline in world.engine.pipelines.values()}
    kinds = {pipeline.ref_kind for pipeline in world.engine.pipelines.values()}
    assert seen == KNOWN_STATUSES
    assert {"parent_pipeline", "pipeline", "merge_request_event", "schedule", "push"} <= sources
    assert kinds == {"branch", "tag", "change_request"}
    assert world.ledger.deleted_pipelines


def test_projects_come_move_and_go() -> None:
    world = World(Options(start=START, projects=12, changes_per_hour=400))
    before = set(world.people.projects)
    world.advance(3 * HOUR)
    assert set(world.people.projects) - before
    assert world.ledger.deleted_projects
    assert world.people.moved


@pytest.mark.no_cover
def test_a_big_history_is_ready_soon() -> None:
    world = World(Options(projects=1_000, history_days=30, history_pipelines=100_000))
    assert len(world.past) >= 100_000
    assert all(pipeline.jobs is None for pipeline in world.past[:100])


def test_a_warm_world_has_lived_before_its_start() -> None:
    world = World(Options(start=START, warm_up=600, pipelines_per_hour=600, history_days=1))
    assert world.now == START
    assert any(pipeline.status == "running" for pipeline in world.engine.pipelines.values())
    assert all(entry.recorded_at <= START for entry in world.truth())
    assert world.ledger.entries


def test_in_speed_mode_time_passes_by_itself_and_by_request() -> None:
    world = World(Options(start=START, speed=1_000_000))
    world.catch_up()
    first = world.now
    assert first > START
    world.advance(HOUR)
    assert world.now >= first + HOUR


@given(st.integers(0, 4_000_000_000_000), st.sampled_from(["Z", "+02:00", "-05:30", "+00:00"]))
def test_timestamps_are_read_as_they_are_written(moment: int, offset: str) -> None:
    assert parse(str(iso(moment, offset))) == moment
