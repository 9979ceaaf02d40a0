"""What happens to GitLab's runners and their queue, and what is exposed of it after the next poll."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import (
    ACME,
    DETAIL,
    GRAPHQL,
    JOBS,
    LIST,
    MANAGERS,
    REST,
    Made,
    a_lively_fleet,
    queue,
    runner,
    samples,
)
from tests.support.harness import PROJECT


def test_one_fleet_from_payload_to_exposition(fleet_of: Made) -> None:
    lab = fleet_of()
    a_lively_fleet(lab)
    wanted = Path(__file__).with_name("fixtures") / "one_fleet.txt"
    assert samples(lab) == wanted.read_text().splitlines()


@pytest.mark.parametrize(
    "block", [{}, ACME, {"instance": False, "projects": [PROJECT]}], ids=["instance", "group", "project"]
)
def test_graphql_and_rest_give_the_same_series(fleet_of: Made, block: dict[str, Any]) -> None:
    # Over REST nobody can read the queue of a whole instance: its groups stand in.
    block = block or {"groups": ["acme"]}
    lab = fleet_of(**block)
    a_lively_fleet(lab)
    by_graphql = samples(lab)
    assert lab.calls()[GRAPHQL]
    lab.restart(**block, **REST)
    assert samples(lab) == by_graphql
    assert GRAPHQL not in lab.calls()


def test_a_removed_runner_vanishes_with_all_its_series(fleet_of: Made) -> None:
    for block in ({}, REST):
        lab = fleet_of(**block)
        gone, stays = runner(lab), runner(lab)
        samples(lab)
        lab.act("remove_runner", runner=int(gone))
        left = samples(lab)
        assert not [line for line in left if f'runner="{gone}"' in line]
        assert [line for line in left if f'runner="{stays}"' in line]
        assert lab.exporter.value("ci_runners") == 1


def test_a_change_of_a_runner_shows_at_the_next_poll(fleet_of: Made) -> None:
    for block in ({}, REST):
        lab = fleet_of(**block)
        number = runner(lab)
        samples(lab)
        assert lab.exporter.value("ci_runner_paused", runner=number) == 0
        lab.act("set_runner", runner=int(number), paused=True, silent=3 * 3600)
        samples(lab)
        assert lab.exporter.value("ci_runner_paused", runner=number) == 1
        assert lab.exporter.value("ci_runner_online", runner=number) == 0
        assert lab.exporter.value("ci_runners", status="offline") == 1
        assert lab.exporter.value("ci_runner_jobs_running", runner=number) is None


def test_a_runner_that_never_made_contact_has_no_time_of_contact(fleet_of: Made) -> None:
    lab = fleet_of()
    number = runner(lab, managers=0)
    samples(lab)
    assert lab.exporter.value("ci_runner_last_contact_timestamp_seconds") is None
    assert lab.exporter.value("ci_runner_online", runner=number) == 0
    assert lab.exporter.value("ci_runners", status="never_contacted") == 1


def test_a_fleet_without_runners_counts_none_of_every_type_and_status(fleet_of: Made) -> None:
    lab = fleet_of()
    assert len([line for line in samples(lab) if line.startswith("ci_runners{")]) == 12
    assert lab.exporter.value("ci_runners") == 0


def test_a_runner_that_several_scopes_have_is_one(fleet_of: Made) -> None:
    lab = fleet_of(groups=["acme"], projects=[PROJECT])
    runner(lab)
    samples(lab)
    assert lab.exporter.value("ci_runners") == 1
    assert lab.exporter.value("ci_runner_info") == 1


# -- the queue -------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [{}, {**ACME, **REST}], ids=["graphql", "rest"])
def test_a_waiting_job_counts_once_at_the_narrowest_type_that_may_take_it(
    fleet_of: Made, block: dict[str, Any]
) -> None:
    lab = fleet_of(**block)
    other = lab.act("create_project", path="acme/q")["project_id"]
    busy: dict[str, Any] = {"tags": ["docker"], "concurrent": 0, "run_untagged": False}
    runner(lab, **busy)
    runner(lab, **busy, type="group_type", group="acme")
    runner(lab, **busy, type="project_type", projects=[PROJECT])
    lab.pipeline({"name": "a", "tags": ["docker"]})
    lab.pipeline({"name": "b", "tags": ["docker"]}, project="acme/q")
    lab.pipeline({"name": "c"})
    assert other
    lab.advance(30)
    samples(lab)
    assert queue(lab) == {("project", "docker"): 1, ("group", "docker"): 1, ("none", ""): 1}


def test_jobs_that_no_runner_may_take_are_told_until_one_comes(fleet_of: Made) -> None:
    lab = fleet_of()
    number = runner(lab, tags=["linux", "gpu"], paused=True, concurrent=0)
    lab.pipeline({"name": "a", "tags": ["gpu", "linux"]})
    lab.advance(30)
    samples(lab)
    assert queue(lab) == {("none", "gpu,linux"): 1}
    lab.act("set_runner", runner=int(number), paused=False)
    samples(lab)
    assert queue(lab) == {("instance", "gpu,linux"): 1}
    lab.act("set_runner", runner=int(number), concurrent=5)
    lab.run(60, 30)
    assert queue(lab) == {}


@pytest.mark.parametrize("block", [{}, {**ACME, **REST}], ids=["graphql", "rest"])
def test_the_oldest_waiting_job_keeps_its_time_from_poll_to_poll(
    fleet_of: Made, block: dict[str, Any]
) -> None:
    lab = fleet_of(**block)
    lab.pipeline({"name": "a", "tags": ["gpu"]})
    seen = set()
    for _ in range(4):
        lab.advance(17.3)
        samples(lab)
        seen.add(lab.exporter.value("ci_runner_queue_oldest_timestamp_seconds", tags="gpu"))
    assert len(seen) == 1
    assert None not in seen


def test_tag_sets_above_the_cap_are_summed_up(fleet_of: Made) -> None:
    lab = fleet_of(queue={"max_tag_sets": 2})
    for name in ("a", "b", "b", "c", "d", "d"):
        lab.pipeline({"name": "j", "tags": [name]})
    lab.advance(30)
    samples(lab)
    assert queue(lab) == {("none", "b"): 2, ("none", "d"): 2, ("none", "other"): 2}


def test_the_queue_can_be_left_out(fleet_of: Made) -> None:
    lab = fleet_of(queue={"enabled": False})
    lab.pipeline({"name": "a", "tags": ["gpu"]})
    lab.advance(30)
    samples(lab)
    assert queue(lab) == {}
    assert lab.calls() == {GRAPHQL: 2}


# -- caps and calls --------------------------------------------------------------------------------


def test_runners_above_the_cap_are_counted_and_have_no_series(fleet_of: Made) -> None:
    lab = fleet_of({"runners": 14}, per_runner={"max_runners": 3})
    samples(lab)
    assert lab.exporter.value("ci_runners") == 14
    assert lab.exporter.value("ci_runner_info") == 3
    assert lab.exporter.value("ci_runner_online", runner="3") is not None
    assert lab.exporter.exposition.dropped["ci_runner_info", "max_runners"] == 11


def test_descriptions_select_whose_series_are_shown(fleet_of: Made) -> None:
    lab = fleet_of(per_runner={"include": ["ci-*"], "exclude": ["*-old"]})
    shown = runner(lab, description="ci-1")
    for description in ("ci-1-old", "laptop"):
        runner(lab, description=description)
    samples(lab)
    assert lab.exporter.value("ci_runners") == 3
    assert [line for line in lab.exporter.lines("ci_runner_info") if f'runner="{shown}"' in line]
    assert lab.exporter.value("ci_runner_info") == 1


def test_a_poll_by_graphql_costs_a_call_for_each_hundred_runners(fleet_of: Made) -> None:
    lab = fleet_of({"runners": 250})
    lab.calls()
    samples(lab)
    assert lab.calls() == {GRAPHQL: 3 + 2}
    assert lab.exporter.value("ci_runners") == 250


def test_a_steady_poll_by_rest_reads_a_quarter_of_the_details(fleet_of: Made) -> None:
    lab = fleet_of({"runners": 20, "version": "18.5.0"}, **REST)
    lab.calls()
    lab.pipeline({"name": "a", "tags": ["docker"], "run": 9000})
    lab.advance(60)
    samples(lab)
    assert lab.calls() == {LIST: 1, DETAIL: 20, MANAGERS: 20, JOBS: 1}  # the list tells who is idle
    samples(lab)
    assert lab.calls() == {LIST: 1, DETAIL: 5, MANAGERS: 5, JOBS: 1}


def test_over_rest_no_queue_is_read_before_the_runners_that_serve_it(
    fleet_of: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("reader", "queue"):
        monkeypatch.setattr(f"collectors.gitlab.fleet.{module}._CALLS_PER_POLL", 1)
    lab = fleet_of(instance=False, groups=["acme/second", "acme/first"], **REST)
    for project in ("acme/first/p", "acme/second/p"):
        lab.act("create_project", path=project)
        runner(lab, type="project_type", projects=[project], concurrent=0)
        lab.pipeline({"name": "a", "tags": ["docker"]}, project=project)
    lab.advance(30)
    for jobs in (1, 2):
        samples(lab)
        assert queue(lab) == {("project", "docker"): jobs}


def test_over_rest_the_runners_of_what_is_below_a_group_are_found_too(fleet_of: Made) -> None:
    lab = fleet_of(**ACME, **REST)
    number = runner(lab, type="project_type", projects=[PROJECT], concurrent=0, tags=["gpu"])
    lab.pipeline({"name": "a", "tags": ["gpu"]})
    lab.advance(30)
    samples(lab)
    assert lab.exporter.value("ci_runner_online", runner=number) == 1
    assert queue(lab) == {("project", "gpu"): 1}
