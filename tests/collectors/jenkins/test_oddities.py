"""Builds that nobody can read, and more of them than a poll asks for: the others go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from collectors.jenkins import collector, reader
from collectors.jenkins.nodes import _since
from exporter.errors import BadAnswer
from tests.support.harness import PROJECT, Lab
from tests.support.truth import counted_runs

SHORT = {"name": "build", "seconds": 10}


def older_builds(lab: Lab, seconds: dict[str, int]) -> None:
    """A build that takes so long for each branch, with a newer one in front of it."""
    for ref, long in seconds.items():
        lab.pipeline({"name": "build", "seconds": long}, ref=ref)
        lab.pipeline(SHORT, ref=ref)


def test_a_newest_build_that_nobody_understands_hides_no_other_job(
    lab_of: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_of(kind="pipeline", before=lambda server: server.action("create_project", path="acme/q"))
    lab.exporter.poll()
    client = lab.exporter.collector._client
    items = client.items

    def odd(full_name: str, depth: int) -> Any:
        body = items(full_name, depth)
        for job in body["jobs"][0]["jobs"]:
            if job["name"] == "p" and job["lastBuild"]:
                job["lastBuild"]["timestamp"] = None
        return body

    monkeypatch.setattr(client, "items", odd)
    lab.pipeline(SHORT)
    lab.pipeline(SHORT, project="acme/q")
    lab.run(90, 30)
    assert lab.exporter.value("ci_pipeline_runs_total", project="acme/q", status="success") == 1
    (trouble,) = lab.exporter.rounds.troubles()
    assert (trouble.name, trouble.reason) == (PROJECT, "bad_data")
    monkeypatch.setattr(client, "items", items)
    lab.run(90, 30)
    assert lab.exporter.value("ci_pipeline_runs_total", project=PROJECT, status="success") == 1
    assert lab.exporter.rounds.troubles() == []


def test_a_build_in_a_list_that_nobody_understands_holds_up_no_other(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = lab.exporter.collector._client
    builds = client.builds

    def odd(*given: Any) -> list[Any]:
        return [{**one, "duration": None} if one["number"] == 2 else one for one in builds(*given)]

    monkeypatch.setattr(client, "builds", odd)
    for _ in range(4):
        lab.pipeline(SHORT)
    lab.run(90, 30)
    assert sum(counted_runs(lab.exporter.text).values()) == 3


@pytest.mark.parametrize("ref", ["a", "b", "c"])
def test_a_build_that_cannot_be_read_again_holds_up_no_other(lab: Lab, ref: str) -> None:
    older_builds(lab, {"a": 50, "b": 50, "c": 50})
    lab.run(30, 15)
    lab.server.faults({"kind": "status", "status": 500, "path": f"/job/{ref}/1/api/json"})
    lab.run(90, 30)
    assert sum(counted_runs(lab.exporter.text).values()) == 5
    assert [state.error for state in lab.exporter.rounds.states()] != [""]
    lab.server.faults()
    lab.run(600, 60)
    assert sum(counted_runs(lab.exporter.text).values()) == 6


def test_builds_that_go_on_and_on_keep_none_from_being_read(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_REREADS", 2)
    older_builds(lab, {"a": 100_000, "b": 100_000, "c": 100_000, "d": 50})
    lab.run(180, 30)
    assert sum(counted_runs(lab.exporter.text).values()) == 5


def test_a_wait_from_behind_the_end_of_the_calendar_is_a_bad_answer() -> None:
    with pytest.raises(BadAnswer):
        _since({"buildableStartMilliseconds": 2**53})


def test_builds_that_were_missed_are_listed_without_making_jenkins_load_all_of_a_job(lab: Lab) -> None:
    lab.server.faults({"kind": "status", "status": 500, "path": "allBuilds"})
    for _ in range(5):
        lab.pipeline(SHORT)
    lab.run(60, 30)
    assert sum(counted_runs(lab.exporter.text).values()) == 5
    assert [state.error for state in lab.exporter.rounds.states()] == [""]


@pytest.mark.parametrize("ref", ["a", "b"])
def test_a_branch_whose_builds_cannot_be_listed_holds_up_no_other(lab: Lab, ref: str) -> None:
    lab.server.faults({"kind": "status", "status": 500, "path": f"/job/{ref}/api/json.*uilds"})
    for _ in range(3):
        lab.pipeline(SHORT, ref="a")
        lab.pipeline(SHORT, ref="b")
    lab.run(120, 30)
    assert sum(counted_runs(lab.exporter.text).values()) == 3
    assert [state.error for state in lab.exporter.rounds.states()] != [""]
    lab.server.faults()
    lab.run(600, 60)
    assert sum(counted_runs(lab.exporter.text).values()) == 6
    assert [state.error for state in lab.exporter.rounds.states()] == [""]


def test_many_branches_whose_builds_cannot_be_listed_come_last(lab: Lab) -> None:
    refs = [*"abcdefgh"]
    lab.server.faults({"kind": "status", "status": 500, "path": "/job/[a-g]/api/json.*uilds"})
    for ref in refs * 2:
        lab.pipeline(SHORT, ref=ref)
    lab.run(600, 60)
    assert sum(counted_runs(lab.exporter.text).values()) == 2
    lab.server.faults()
    lab.run(600, 60)
    assert sum(counted_runs(lab.exporter.text).values()) == 16


def test_a_branch_that_cannot_be_listed_slows_down_no_backlog(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "_BUILDS_PER_BATCH", 2)
    lab.server.faults({"kind": "status", "status": 500, "path": "/job/a/api/json.*uilds"})
    for _ in range(7):
        lab.pipeline(SHORT, ref="a")
        lab.pipeline(SHORT, ref="b")
    lab.advance(60)
    lab.exporter.poll()
    assert sum(counted_runs(lab.exporter.text).values()) == 7
    lab.run(60, 60)
    assert [state.error for state in lab.exporter.rounds.states()] != [""]
