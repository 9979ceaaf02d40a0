"""Environments, deployments, commits and merge requests: shapes, orders, filters, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FIXTURES = Path(__file__).parent.parent / "fixtures"
LATER = "2027-01-01T00:00:00Z"


def deploy(one: Any, environment: str = "production", **job: Any) -> None:
    one.act("new_pipeline", project="acme/p", jobs=[{"name": "ship", "environment": environment, **job}])


def ids(rows: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in rows]


def test_deployments_have_all_that_real_ones_have(one: Any) -> None:
    deploy(one)
    one.run(60)
    recorded = json.loads((FIXTURES / "deployment.json").read_text())
    (row,) = one.json("/projects/101/deployments")
    assert set(recorded) <= set(row)
    for part in ("environment", "deployable"):
        assert set(recorded[part]) <= set(row[part])
    assert set(recorded["deployable"]["commit"]) <= set(row["deployable"]["commit"])
    assert one.json(f"/projects/101/deployments/{row['id']}") == row
    assert "finished_at" not in row, "only its job tells"
    assert "tier" not in row["environment"]


def test_environments_have_all_that_real_ones_have(one: Any) -> None:
    deploy(one, "review/a")
    deploy(one, "eu/staging")
    one.run(60)
    recorded = json.loads((FIXTURES / "environments.json").read_text())
    rows = one.json("/projects/101/environments")
    assert all(set(recorded[0]) <= set(row) for row in rows)
    assert [(row["name"], row["tier"], row["state"]) for row in rows] == [
        ("review/a", "development", "available"),
        ("eu/staging", "staging", "available"),
    ]
    single = one.json(f"/projects/101/environments/{rows[1]['id']}")
    assert single["last_deployment"]["status"] == "success"
    assert "last_deployment" not in rows[1]


def test_environments_are_stopped_and_come_back(one: Any) -> None:
    deploy(one)
    one.run(60)
    one.act("stop_environment", project="acme/p", environment="production")
    assert one.json("/projects/101/environments?states=available") == []
    assert len(one.json("/projects/101/environments?states=stopped")) == 1
    deploy(one)
    one.run(60)
    assert len(one.json("/projects/101/environments?states=available")) == 1


def test_a_deployment_goes_through_the_states_of_its_job(one: Any) -> None:
    deploy(one, queue=30, run=30, outcome="failed")
    seen = []
    for _ in range(4):
        one.run(20)
        seen.append(one.json("/projects/101/deployments")[0]["status"])
    assert seen == ["created", "running", "running", "failed"]
    (told,) = one.control("GET", "deployments")["deployments"]
    assert [end["status"] for end in told["ends"]] == ["failed"]


def test_a_filter_by_time_needs_the_order_of_that_time(one: Any) -> None:
    assert one.get(f"/projects/101/deployments?updated_after={LATER}")[0] == 400
    assert one.get(f"/projects/101/deployments?updated_after={LATER}&order_by=updated_at")[0] == 200
    assert one.get("/projects/101/deployments?order_by=finished_at")[0] == 400
    assert one.get("/projects/101/deployments?order_by=finished_at&status=success")[0] == 200
    assert one.get("/projects/101/deployments?order_by=ref")[0] == 400
    assert one.get("/projects/101/deployments?status=melted")[0] == 400


def test_deployments_are_ordered_and_filtered(one: Any) -> None:
    for name, seconds in (("production", 50), ("staging", 10), ("production", 30)):
        deploy(one, name, run=seconds)
        one.run(2)
    one.run(100)
    assert ids(one.json("/projects/101/deployments")) == [1, 2, 3]
    assert ids(one.json("/projects/101/deployments?sort=desc&environment=production")) == [3, 1]
    by_update = "/projects/101/deployments?order_by=updated_at&sort=asc"
    rows = one.json(by_update)
    assert ids(rows) == [2, 3, 1]
    assert ids(one.json(f"{by_update}&updated_after={rows[1]['updated_at']}")) == [3, 1], "inclusive"


def test_of_one_instant_the_newest_comes_first(one: Any) -> None:
    for _ in range(3):
        one.act("deploy", project="acme/p", environment="production", status="success")
    assert ids(one.json("/projects/101/deployments?order_by=updated_at&sort=asc")) == [3, 2, 1]


def test_a_deployment_outlives_its_pipeline(one: Any) -> None:
    deploy(one, run=10)
    deploy(one, run=600)
    one.run(60)
    for number in (1001, 1002):
        one.act("delete_pipeline", pipeline=number)
    rows = one.json("/projects/101/deployments")
    assert [(row["status"], row["deployable"]) for row in rows] == [("success", None), ("canceled", None)]


def test_history_has_deployments_too(browse: Any) -> None:
    browser = browse(projects=2, history_days=3, history_pipelines=60)
    told = browser.control("GET", "deployments")["deployments"]
    listed = [
        row["id"]
        for number in (101, 102)
        for row in browser.json(f"/projects/{number}/deployments?per_page=100")
    ]
    assert sorted(listed) == sorted(one["id"] for one in told)
    assert len(told) > 20
    assert {one["status"] for one in told} >= {"success", "failed"}


def test_commits_follow_each_other_on_the_default_branch(one: Any) -> None:
    first = one.json("/projects/101/repository/branches/main")["commit"]["id"]
    for _ in range(3):
        one.act("new_pipeline", project="acme/p", jobs=[{"name": "unit"}])
        one.run(10)
    head = one.json("/projects/101/repository/branches/main")["commit"]
    told = one.json(f"/projects/101/repository/compare?from={first}&to={head['id']}")
    assert (len(told["commits"]), told["commit"]) == (3, head)
    assert one.json(f"/projects/101/repository/compare?from={head['id']}&to={first}")["commits"] == []
    same = one.json(f"/projects/101/repository/compare?from={first}&to={first}")
    assert (same["commits"], same["compare_same_ref"]) == ([], True)
    assert one.json(f"/projects/101/repository/commits/{head['id']}") == head
    assert one.get(f"/projects/101/repository/compare?from=abc&to={first}")[0] == 404
    assert one.get("/projects/101/repository/commits/abc")[0] == 404


def test_merge_requests_are_talked_about(one: Any) -> None:
    one.act("comment_mr", project="acme/p", iid=1)
    one.run(5)
    one.act("draft_mr", project="acme/p", iid=1)
    one.run(5)
    one.act("approve_mr", project="acme/p", iid=1)
    path = "/projects/101/merge_requests/1"
    found = one.json(path)
    assert (found["draft"], found["user_notes_count"], found["title"][:7]) == (True, 1, "Draft: ")
    notes = one.json(f"{path}/notes?sort=asc")
    assert [(note["system"], note["body"][:8]) for note in notes] == [
        (False, "Is this "),
        (True, "marked t"),
        (True, "approved"),
    ]
    assert one.json(f"{path}/notes") == notes[::-1]
    assert found["updated_at"] == notes[-1]["created_at"]
    assert notes[0]["author"] != found["author"]
    (told, _) = one.control("GET", "changes")["changes"]
    assert told["first_review_at"] == notes[0]["created_at"]
    assert told["first_approval_at"] == notes[2]["created_at"]
    assert one.get("/projects/101/merge_requests/99")[0] == 404


def test_merge_requests_close_and_open_again(one: Any) -> None:
    one.act("close_mr", project="acme/p", iid=1)
    one.run(5)
    one.act("reopen_mr", project="acme/p", iid=1)
    found = one.json("/projects/101/merge_requests/1")
    assert (found["state"], found["closed_at"]) == ("opened", None)
    one.run(5)
    one.act("close_mr", project="acme/p", iid=1)
    (told, _) = one.control("GET", "changes")["changes"]
    assert len(told["closings"]) == 2
    simple = one.json("/projects/101/merge_requests?view=simple&state=closed")
    assert [set(row) & {"draft", "iid"} for row in simple] == [{"iid"}]


def test_people_review_by_themselves_in_a_lively_world(browse: Any) -> None:
    lively, still = browse(changes_per_hour=200), browse()
    for browser in (lively, still):
        browser.run(3600)
    told = lively.control("GET", "changes")["changes"]
    assert [one for one in told if one["first_review_at"]]
    assert [one for one in told if one["first_approval_at"]]
    assert not [one for one in still.control("GET", "changes")["changes"] if one["first_review_at"]]


@pytest.mark.parametrize(
    ("feature", "path"), [("environments", "deployments"), ("merge_requests", "merge_requests")]
)
def test_what_is_switched_off_is_refused(one: Any, feature: str, path: str) -> None:
    one.act("switch_off", project="acme/p", feature=feature)
    assert one.get(f"/projects/101/{path}")[0] == 403
    assert one.json("/projects/101")[f"{feature}_access_level"] == "disabled"
    one.act("switch_off", project="acme/p", feature=feature, off=False)
    assert one.get(f"/projects/101/{path}")[0] == 200
