"""The runners of the stand-in: who takes which job, what becomes of the others, and what the truth says."""

from __future__ import annotations

from typing import Any

import pytest

from collectors._standin.times import DAY, HOUR
from collectors.gitlab.standin.options import Options
from collectors.gitlab.standin.world import World

START = 1_780_000_000_000


@pytest.fixture
def bare(browse: Any) -> Any:
    """A still world with the projects ``acme/p`` (101) and ``acme/apps/q`` (102), and no runner."""
    browser = browse(projects=0, runners=0, admin=True)
    browser.act("create_project", path="acme/p")
    browser.act("create_project", path="acme/apps/q")
    return browser


def begin(world: Any, project: int = 101, **job: Any) -> int:
    """Start a pipeline of one job, let 20 s pass, and return the job's number."""
    entry = {"name": "unit", "queue": 1, "run": 600, **job}
    pipeline = world.act("new_pipeline", project=project, jobs=[entry])["pipeline_id"]
    world.run(20)
    return int(world.json(f"/projects/{project}/pipelines/{pipeline}/jobs")[0]["id"])


def job(world: Any, number: int, project: int = 101) -> Any:
    return world.json(f"/projects/{project}/jobs/{number}")


def fleet(world: Any) -> Any:
    return world.control("GET", "fleet")


@pytest.mark.parametrize(
    ("runner", "project", "tags", "taken"),
    [
        ({}, 102, [], True),
        ({"tags": ["a", "b"]}, 101, ["a"], True),
        ({"tags": ["a", "b"]}, 101, ["b", "a"], True),
        ({"tags": ["a"]}, 101, ["a", "b"], False),
        ({"tags": ["a"], "run_untagged": False}, 101, [], False),
        ({"tags": ["a"], "run_untagged": False}, 101, ["a"], True),
        ({"paused": True}, 101, [], False),
        ({"managers": 0}, 101, [], False),
        ({"silent": 60}, 101, [], False),
        ({"type": "group_type", "group": "acme"}, 102, [], True),
        ({"type": "group_type", "group": "acme/apps"}, 102, [], True),
        ({"type": "group_type", "group": "acme/apps"}, 101, [], False),
        ({"type": "group_type", "group": "acme/app"}, 102, [], False),
        ({"type": "project_type", "projects": [101]}, 101, [], True),
        ({"type": "project_type", "projects": [101]}, 102, [], False),
    ],
)
def test_a_runner_takes_what_it_reaches_and_has_the_tags_for(
    bare: Any, runner: dict[str, Any], project: int, tags: list[str], taken: bool
) -> None:
    number = bare.act("new_runner", **runner)["runner_id"]
    shown = job(bare, begin(bare, project, tags=tags), project)
    assert shown["status"] == ("running" if taken else "pending")
    assert (shown["runner"] or {}).get("id") == (number if taken else None)
    assert shown["tag_list"] == tags
    assert [entry["stuck"] for entry in fleet(bare)["jobs"]] == [not taken]


def test_a_job_that_waits_begins_once_a_runner_is_there(bare: Any) -> None:
    number = begin(bare, run=30)
    bare.run(300)
    assert job(bare, number)["queued_duration"] > 300
    runner = bare.act("new_runner", type="group_type")["runner_id"]
    bare.run(60)
    ended = job(bare, number)
    assert (ended["status"], ended["runner"]["id"]) == ("success", runner)
    [told] = bare.truth(kind="job")
    assert told["runner_type"] == "group_type"
    assert told["queue_seconds"] == ended["queued_duration"] > 300


def test_what_no_runner_takes_is_dropped_after_an_hour(bare: Any) -> None:
    number = begin(bare)
    bare.run(3_500)
    assert job(bare, number)["status"] == "pending"
    bare.run(200)
    shown = job(bare, number)
    assert (shown["status"], shown["failure_reason"]) == ("failed", "stuck_or_timeout_failure")
    [told] = bare.truth(kind="job")
    assert (told["runner_type"], told["queue_seconds"], told["started_at"]) == ("", None, None)
    assert fleet(bare)["jobs"] == []


def test_a_full_runner_lets_jobs_wait_but_they_are_not_stuck(bare: Any) -> None:
    bare.act("new_runner", concurrent=1)
    first, second = begin(bare, run=3_900), begin(bare, run=10)
    bare.run(3_800)
    assert (job(bare, first)["status"], job(bare, second)["status"]) == ("running", "pending")
    assert [entry["stuck"] for entry in fleet(bare)["jobs"]] == [False, False]
    bare.run(300)
    assert job(bare, second)["status"] == "success"


def test_only_processes_that_are_awake_execute(bare: Any) -> None:
    made = bare.act("new_runner", managers=3)
    sleeper, *awake = made["manager_ids"]
    bare.act("set_runner", runner=made["runner_id"], manager=sleeper, silent=5)
    for _ in range(6):
        begin(bare)
    counts = {manager["id"]: manager["running"] for manager in fleet(bare)["runners"][0]["managers"]}
    assert counts[sleeper] == 0
    assert sum(counts[number] for number in awake) == 6
    used = {job(bare, number)["runner_manager"]["id"] for number in fleet(bare)["runners"][0]["running"]}
    assert used <= set(awake)


def test_jobs_of_a_removed_runner_go_on_without_it(bare: Any) -> None:
    runner = bare.act("new_runner")["runner_id"]
    number = begin(bare, run=60)
    bare.act("remove_runner", runner=runner)
    shown = job(bare, number)
    assert (shown["status"], shown["runner"], shown["runner_manager"]) == ("running", None, None)
    bare.run(120)
    assert job(bare, number)["status"] == "success"


def test_what_was_canceled_or_deleted_waits_no_longer(bare: Any) -> None:
    begin(bare)
    begin(bare)
    first, second = (entry["id"] for entry in bare.json("/projects/101/pipelines"))
    bare.act("cancel_pipeline", pipeline=first)
    bare.act("delete_pipeline", pipeline=second)
    assert fleet(bare)["jobs"] == []


@pytest.mark.parametrize(
    ("silent", "created", "status"),
    [
        (None, 0, "online"),
        (2 * 3600 - 60, 10 * 86400, "online"),
        (2 * 3600 + 60, 10 * 86400, "offline"),
        (7 * 86400 - 60, 10 * 86400, "offline"),
        (7 * 86400 + 60, 10 * 86400, "stale"),
        (7 * 86400 + 60, 3600, "offline"),
    ],
)
def test_the_status_follows_the_last_contact(
    bare: Any, silent: int | None, created: int, status: str
) -> None:
    runner = bare.act("new_runner", silent=silent, created=created)["runner_id"]
    shown = bare.json(f"/runners/{runner}")
    assert (shown["status"], shown["online"]) == (status, status == "online")
    bare.act("set_runner", runner=runner, paused=True)
    paused = bare.json(f"/runners/{runner}")
    assert paused["status"] == ("stale" if status == "stale" else "paused")
    assert (paused["active"], paused["paused"]) == (False, True)


def test_a_runner_that_never_made_contact_gets_stale_with_age(bare: Any) -> None:
    runner = bare.act("new_runner", managers=0)["runner_id"]
    shown = bare.json(f"/runners/{runner}")
    assert (shown["status"], shown["online"], shown["contacted_at"]) == ("never_contacted", None, None)
    bare.act("set_runner", runner=runner, created=8 * 86400)
    assert bare.json(f"/runners/{runner}")["status"] == "stale"


def test_a_runner_at_work_makes_contact_every_few_seconds(bare: Any) -> None:
    bare.act("new_runner")
    seen = set()
    for _ in range(10):
        bare.run(4)
        seen.add(fleet(bare)["runners"][0]["contacted_at"])
    assert len(seen) == 10


def test_without_the_option_four_runners_take_every_job(one: Any) -> None:
    assert job(one, begin(one, tags=["nobody", "has", "these"]))["status"] == "running"
    assert [runner["id"] for runner in fleet(one)["runners"]] == [1, 2, 3, 4]
    assert [entry["stuck"] for entry in fleet(one)["jobs"]] == [False]


def test_a_fleet_holds_every_type_and_every_trouble() -> None:
    fleet = World(Options(start=START, runners=14)).fleet
    runners = list(fleet.runners.values())
    assert {runner.runner_type for runner in runners} == {"instance_type", "group_type", "project_type"}
    assert {runner.status(START) for runner in runners} == {"online", "offline", "stale", "never_contacted"}
    assert [runner.description for runner in runners if runner.paused] == ["shared-paused"]
    assert any(len(runner.awake) < len(runner.managers) > 1 for runner in runners)


LIVELY = Options(
    start=START,
    projects=20,
    runners=14,
    history_days=1,
    history_pipelines=100,
    pipelines_per_hour=400,
    changes_per_hour=60,
    stories={"no_runner": 30},
)


@pytest.mark.no_cover  # long, through code that smaller tests cover
def test_equal_seeds_give_equal_fleets_however_time_is_cut() -> None:
    at_once, in_steps = World(LIVELY), World(LIVELY)
    at_once.advance(HOUR)
    for _ in range(60):
        in_steps.advance(HOUR // 60)
    assert at_once.fleet.told(at_once.now) == in_steps.fleet.told(in_steps.now)
    assert list(at_once.truth()) == list(in_steps.truth())


def test_in_a_lively_world_every_job_is_with_a_runner_that_may_have_it(browse: Any) -> None:
    browser = browse(**{name: getattr(LIVELY, name) for name in Options.__slots__})
    browser.run(2 * 3600)
    known = browser.world.fleet
    for runner in known.runners.values():
        for taken in known.taken_by(runner):
            assert set(taken.plan.tags) <= set(runner.tags)
            assert taken.status != "pending"
        assert len(known.executing(runner)) <= runner.concurrent
    idle = ("shared-offline", "shared-stale", "shared-paused", "shared-new")
    assert {r.description for r in known.runners.values() if not known.taken_by(r)} >= set(idle)
    waiting = [entry for entry in browser.control("GET", "fleet")["jobs"] if entry["stuck"]]
    assert waiting
    assert {tuple(entry["tags"]) for entry in waiting} == {("gpu",)}


def test_truth_and_jobs_name_the_same_type_of_runner(browse: Any) -> None:
    browser = browse(**{name: getattr(LIVELY, name) for name in Options.__slots__} | {"changes_per_hour": 0})
    browser.run(1800)
    told = {
        entry["job_id"]: entry["runner_type"]
        for entry in browser.truth(kind="job", project_id=101)
        if entry["started_at"]
    }
    shown = {}
    for page in range(1, 40):
        for row in browser.json(f"/projects/101/jobs?per_page=100&page={page}"):
            shown[row["id"]] = (row["runner"] or {}).get("runner_type", "")
    assert len(told) > 20
    assert {number: shown[number] for number in told} == told
    assert set(told.values()) == {"instance_type", "group_type", "project_type"}


def test_history_needs_the_runners_that_executed_it() -> None:
    with pytest.raises(ValueError, match="at least 4 runners"):
        World(Options(start=START, runners=3, history_days=1))


def test_runners_were_created_before_they_made_contact() -> None:
    world = World(Options(start=START, runners=14))
    for runner in world.fleet.runners.values():
        contacted = runner.contacted_at(world.now)
        assert contacted is None or contacted >= runner.created_at
        assert runner.created_at > START - 500 * DAY
