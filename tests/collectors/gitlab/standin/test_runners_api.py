"""The REST endpoints about runners: shapes, filters, pages and who may see what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SHAPES = json.loads((Path(__file__).parent / "shapes.json").read_text())
LIST_ONLY = {"tag_list", "contacted_at", "version", "revision", "platform", "architecture", "run_untagged"}


@pytest.fixture
def world(browse: Any) -> Any:
    """A still world with 14 runners, read by an administrator."""
    return browse(runners=14, admin=True)


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


@pytest.mark.parametrize(
    ("path", "shape"),
    [("runners/all", "runners"), ("runners", "runners"), ("groups/acme/runners", "group_runners")],
)
def test_lists_have_the_known_keys_and_neither_tags_nor_contact_nor_version(
    world: Any, path: str, shape: str
) -> None:
    for row in world.json(f"/{path}"):
        assert set(SHAPES[shape]) <= set(row)
        assert not LIST_ONLY & set(row)


def test_a_runner_alone_has_tags_and_contact_but_its_version_is_empty(world: Any) -> None:
    shown = world.json("/runners/4")
    assert set(SHAPES["runner_detail"]) - {"token"} <= set(shown)
    assert set(shown) >= LIST_ONLY
    assert shown["tag_list"] == ["docker", "linux", "arm64"]
    assert [shown[key] for key in ("version", "revision", "platform", "architecture")] == [""] * 4
    assert [project["id"] for project in shown["projects"]] == [101]
    assert [group["name"] for group in world.json("/runners/3")["groups"]] == ["acme"]


def test_before_version_18_the_runner_told_the_version_of_its_latest_process(browse: Any) -> None:
    old = browse(runners=14, version="17.11.4")
    assert old.json("/runners/4")["version"] == old.json("/runners/4/managers")[0]["version"] != ""
    assert old.json("/runners/8")["version"] == ""


def test_processes_tell_version_and_contact(world: Any) -> None:
    rows = world.json("/runners/2/managers")
    assert len(rows) == 3
    for row in rows:
        assert {"system_id", "version", "platform", "architecture", "contacted_at", "status"} <= set(row)
    assert world.json("/runners/8/managers") == []


def test_jobs_show_the_runner_and_the_process_that_executes_them(world: Any) -> None:
    pipeline = world.act("new_pipeline", project=101, jobs=[{"name": "a", "run": 600}])["pipeline_id"]
    world.run(30)
    [row] = world.json(f"/projects/101/pipelines/{pipeline}/jobs")
    known = {
        "id",
        "description",
        "active",
        "paused",
        "is_shared",
        "runner_type",
        "name",
        "online",
        "status",
    }
    assert known <= set(row["runner"])
    assert (row["runner"]["status"], row["runner"]["job_execution_status"]) == ("online", "active")
    number = row["runner"]["id"]
    assert row["runner_manager"]["id"] in ids(world.json(f"/runners/{number}/managers"))
    assert row["tag_list"] == []
    [executed] = world.json(f"/runners/{number}/jobs?status=running&order_by=id&sort=desc")
    assert (executed["id"], executed["project"]["id"]) == (row["id"], 101)
    assert "runner" not in executed
    assert world.json(f"/runners/{number}/jobs?status=success") == []
    system = row["runner_manager"]["system_id"]
    assert len(world.json(f"/runners/{number}/jobs?system_id={system}")) == 1
    assert world.json(f"/runners/{number}/jobs?system_id=other") == []


def test_jobs_of_a_runner_are_newest_first(world: Any) -> None:
    for _ in range(40):
        world.act("new_pipeline", project=101, jobs=[{"name": "a", "run": 5}])
        world.run(30)
    rows = ids(world.json("/runners/1/jobs"))
    assert len(rows) > 1
    assert rows == sorted(rows, reverse=True)
    assert ids(world.json("/runners/1/jobs?order_by=id&sort=asc")) == sorted(rows)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("type=instance_type", {1, 2, 5, 6, 7, 8, 9, 12}),
        ("status=online", {1, 2, 3, 4, 7, 9, 10, 11, 12, 13, 14}),
        ("status=offline", {5, 6}),
        ("status=stale", {6}),
        ("status=never_contacted", {8}),
        ("status=paused", {7}),
        ("paused=true", {7}),
        ("paused=false&type=instance_type&status=online", {1, 2, 9, 12}),
        ("tag_list=arm64", {4, 8 + 4}),
        ("tag_list=linux,large", {2, 3, 10, 11, 14}),
        ("version_prefix=1.", set()),
    ],
)
def test_lists_can_be_filtered(world: Any, asked: str, expected: set[int]) -> None:
    assert set(ids(world.json(f"/runners/all?{asked}"))) == expected


def test_all_runners_are_for_administrators(world: Any) -> None:
    assert ids(world.json("/runners/all")) == list(range(1, 15))
    world.act("set_admin", admin=False)
    assert world.get("/runners/all")[:2] == (403, {"message": "403 Forbidden"})
    assert {row["runner_type"] for row in world.json("/runners")} == {"group_type", "project_type"}


def test_groups_and_projects_show_what_serves_them(world: Any) -> None:
    shared = {1, 2, 5, 6, 7, 8, 9, 12}
    world.act("create_project", path="acme/apps/backend/x")
    group = world.act("new_runner", type="group_type", group="acme/apps")["runner_id"]
    below = world.act("new_runner", type="group_type", group="acme/apps/backend")["runner_id"]
    own = world.act("new_runner", type="project_type", projects=["acme/apps/backend/x"])["runner_id"]
    of_apps = set(ids(world.json("/groups/acme%2Fapps/runners?per_page=100")))
    assert of_apps >= shared | {3, group}
    assert not of_apps & {below, own, 4}
    of_project = set(ids(world.json("/projects/acme%2Fapps%2Fbackend%2Fx/runners?per_page=100")))
    assert of_project >= shared | {3, group, below, own}
    assert 4 not in of_project


def test_lists_have_pages(world: Any) -> None:
    status, rows, head = world.get("/runners/all?per_page=5&page=2")
    assert (status, ids(rows)) == (200, [6, 7, 8, 9, 10])
    assert (head["X-Total"], head["X-Next-Page"]) == ("14", "3")
    assert 'rel="next"' in head["Link"]


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/runners/99", 404, {"message": "404 Not found"}),
        ("/runners/99/managers", 404, {"message": "404 Not found"}),
        ("/runners/99/jobs", 404, {"message": "404 Not found"}),
        ("/runners/x", 400, {"error": "id is invalid"}),
        ("/runners/all?type=shared", 400, {"error": "type does not have a valid value"}),
        ("/runners/all?status=asleep", 400, {"error": "status does not have a valid value"}),
        ("/groups/none/runners", 404, {"message": "404 Group Not Found"}),
        ("/projects/999/runners", 404, {"message": "404 Project Not Found"}),
    ],
)
def test_refusals(world: Any, path: str, status: int, body: object) -> None:
    assert world.get(path)[:2] == (status, body)


def test_requests_are_counted_by_endpoint(world: Any) -> None:
    for path in ("/runners/all", "/runners/1", "/runners/1/managers", "/runners/1/jobs", "/runners"):
        world.get(path)
    world.get("/groups/acme/runners")
    assert world.control("GET", "requests")["by_endpoint"] == {
        "GET /runners/all": 1,
        "GET /runners/:id": 1,
        "GET /runners/:id/managers": 1,
        "GET /runners/:id/jobs": 1,
        "GET /runners": 1,
        "GET /groups/:id/runners": 1,
    }


@pytest.mark.parametrize(
    "given",
    [
        {"action": "set_runner", "runner": 99, "paused": True},
        {"action": "remove_runner", "runner": 99},
        {"action": "new_runner", "type": "shared"},
        {"action": "new_runner", "type": "project_type", "projects": [999]},
    ],
)
def test_mistakes_in_actions_are_refused(world: Any, given: dict[str, Any]) -> None:
    assert world.control("POST", "action", given)["status"] == 400
    assert len(world.control("GET", "fleet")["runners"]) == 14
