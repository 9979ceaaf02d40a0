"""Refusals, redirects, limits and faults of the stand-in."""

from __future__ import annotations

import json
from typing import Any

import pytest


def test_a_wrong_or_missing_token_is_401(one: Any) -> None:
    refused = (401, {"message": "401 Unauthorized"})
    assert one.get("/projects", **{"private-token": "wrong"})[:2] == refused
    assert one.get("/projects", **{"private-token": ""})[:2] == refused
    assert one.get("/projects", **{"private-token": "", "authorization": "Bearer wrong"})[:2] == refused


def test_a_bearer_token_is_as_good(one: Any) -> None:
    token = one.site.token
    assert one.get("/user", **{"private-token": "", "authorization": f"Bearer {token}"})[0] == 200


def test_a_changed_token_locks_the_old_one_out(one: Any) -> None:
    one.act("set_token", token="other")
    assert one.get("/user")[0] == 401
    assert one.get("/user", **{"private-token": "other"})[0] == 200


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/projects/999", 404, {"message": "404 Project Not Found"}),
        ("/projects/acme%2Fnone/pipelines", 404, {"message": "404 Project Not Found"}),
        ("/groups/none/projects", 404, {"message": "404 Group Not Found"}),
        ("/users/none/projects", 404, {"message": "404 User Not Found"}),
        ("/projects/101/pipelines/1", 404, {"message": "404 Not found"}),
        ("/nothing", 404, {"error": "404 Not Found"}),
        ("/projects/101/pipelines?scope=all", 400, {"error": "scope does not have a valid value"}),
        ("/projects/101/pipelines?status=quantum", 400, {"error": "status does not have a valid value"}),
        ("/projects/101/pipelines?order_by=sha", 400, {"error": "order_by does not have a valid value"}),
        ("/projects/101/pipelines?updated_after=soon", 400, {"error": "updated_after is invalid"}),
        ("/projects/101/pipelines?page=x", 400, {"error": "page is invalid"}),
        ("/projects/101/pipelines?per_page=0", 400, {"error": "per_page does not have a valid value"}),
        ("/projects/101/jobs?scope[]=done", 400, {"error": "scope does not have a valid value"}),
        ("/projects/101/jobs?pagination=keyset&cursor=x", 400, {"error": "cursor is invalid"}),
    ],
)
def test_refusals(one: Any, path: str, status: int, body: object) -> None:
    assert one.get(path)[:2] == (status, body)


def test_offsets_end_at_50000(one: Any) -> None:
    status, body, _ = one.get("/projects?page=502&per_page=100")
    assert status == 405
    assert "maximum allowed offset of 50000" in body["error"]


def test_other_methods_are_not_allowed(one: Any) -> None:
    assert one.raw("/api/v4/projects/101", "POST").status == 405


def test_disabled_ci_is_403_on_pipelines_and_jobs_only(one: Any) -> None:
    one.act("disable_ci", project=101)
    for path in ("pipelines", "pipelines/1", "jobs"):
        assert one.get(f"/projects/101/{path}")[:2] == (403, {"message": "403 Forbidden"})
    project = one.json("/projects/101")
    assert (project["builds_access_level"], project["jobs_enabled"]) == ("disabled", False)
    assert one.json("/projects/101/repository/branches")


def test_a_moved_project_redirects_to_its_number_with_the_rest_of_the_request(one: Any) -> None:
    one.act("rename_project", project="acme/p", path="acme/apps/q")
    status, _, head = one.get("/projects/acme%2Fp/pipelines?updated_after=2026-01-01T00:00:00Z&per_page=5")
    assert status == 301
    expected = "/api/v4/projects/101/pipelines?updated_after=2026-01-01T00:00:00Z&per_page=5"
    assert head["Location"] == f"http://gitlab.test{expected}"
    assert one.get("/projects/acme%2Fp")[2]["Location"] == "http://gitlab.test/api/v4/projects/101"
    assert one.json("/projects")[0]["path_with_namespace"] == "acme/apps/q"
    assert one.json("/projects/acme%2Fapps%2Fq")["id"] == 101


def test_a_new_project_at_an_old_path_ends_the_redirect(one: Any) -> None:
    one.act("rename_project", project="acme/p", path="acme/q")
    one.act("create_project", path="acme/p")
    assert one.json("/projects/acme%2Fp")["id"] == 102


def test_a_deleted_project_is_gone_with_its_pipelines(one: Any) -> None:
    number = one.act("new_pipeline", project=101)["pipeline_id"]
    one.act("delete_project", project=101)
    assert one.get("/projects/101")[0] == 404
    assert one.get("/projects/acme%2Fp")[0] == 404
    known = one.control("GET", "truth")
    assert list(known["deleted_pipelines"]) == [str(number)]
    assert list(known["deleted_projects"]) == ["101"]


def test_an_empty_project_has_neither_default_branch_nor_pipelines(one: Any) -> None:
    one.act("create_project", path="acme/empty", empty=True)
    project = one.json("/projects/acme%2Fempty")
    assert (project["default_branch"], project["empty_repo"]) == (None, True)
    assert one.json("/projects/acme%2Fempty/pipelines") == []


def test_archived_projects_can_be_left_out(one: Any) -> None:
    one.act("archive", project=101)
    assert one.json("/groups/acme/projects?archived=false") == []
    assert len(one.json("/groups/acme/projects?archived=true")) == 1
    assert len(one.json("/groups/acme/projects")) == 1


def test_over_the_limit_is_429_in_plain_text(browse: Any) -> None:
    world = browse(rate_limit=3, rate_headers=True)
    # The minute may turn between two requests, so more than twice the limit is asked.
    answers = [world.get("/version") for _ in range(8)]
    status, body, head = answers[-1]
    assert (status, body) == (429, "Retry later\n")
    assert 1 <= int(head["Retry-After"]) <= 60
    assert head["RateLimit-Remaining"] == "0"
    assert int(answers[0][2]["RateLimit-Remaining"]) == 2


def test_the_limit_can_change_while_it_runs(one: Any) -> None:
    one.act("set_rate_limit", per_minute=1)
    assert [one.get("/version")[0] for _ in range(4)][-1] == 429
    one.act("set_rate_limit", per_minute=0)
    assert one.get("/version")[0] == 200


def test_requests_are_counted_by_endpoint(one: Any) -> None:
    one.get("/projects/101/pipelines?page=1")
    one.get("/projects/acme%2Fp/pipelines")
    one.get("/projects/101/repository/branches/main")
    one.get("/projects/999")
    known = one.control("GET", "requests?log=1")
    assert known["total"] == 4
    assert known["by_endpoint"]["GET /projects/:id/pipelines"] == 2
    assert known["by_endpoint"]["GET /projects/:id/repository/branches/:id"] == 1
    assert known["by_status"] == {"200": 3, "404": 1}
    assert known["recent"][0] == "GET /api/v4/projects/101/pipelines?page=1"
    one.control("DELETE", "requests")
    assert one.control("GET", "requests")["total"] == 0


def spoiled(one: Any, path: str = "/projects", **rule: Any) -> Any:
    assert one.control("POST", "faults", {"rules": [rule]})["status"] == 200
    return one.raw(f"/api/v4{path}")


def test_a_status_fault_strikes_as_often_as_asked_and_only_where(one: Any) -> None:
    rule = {"kind": "status", "status": 429, "retry_after": 7, "count": 1, "skip": 1, "path": "/projects"}
    one.control("POST", "faults", {"rules": [rule]})
    assert one.get("/version")[0] == 200
    assert [one.get("/projects")[0] for _ in range(3)] == [200, 429, 200]
    assert one.control("GET", "faults")["rules"][0]["hits"] == 1


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503])
def test_any_status_can_be_forced(one: Any, status: int) -> None:
    reply = spoiled(one, kind="status", status=status, retry_after=7)
    assert reply.status == status
    assert ("Retry-After", "7") in reply.headers


def test_bodies_can_be_cut_truncated_or_replaced(one: Any) -> None:
    whole = one.raw("/api/v4/projects").body
    cut = spoiled(one, kind="cut")
    assert cut.declared == len(whole) > len(cut.body)
    short = spoiled(one, kind="truncated_json")
    assert short.declared is None
    assert whole.startswith(short.body)
    page = spoiled(one, kind="html")
    assert page.body.startswith(b"<!DOCTYPE html>")
    assert spoiled(one, kind="drop").dropped
    assert spoiled(one, kind="redirect", location="http://elsewhere/").status == 302


@pytest.mark.parametrize(("shape", "expected"), [("null", None), ("object", {"unexpected": True})])
def test_shapes_can_be_wrong(one: Any, shape: str, expected: object) -> None:
    assert json.loads(spoiled(one, kind="wrong_shape", shape=shape).body) == expected


def test_ids_can_be_text(one: Any) -> None:
    assert json.loads(spoiled(one, kind="wrong_shape", shape="string_ids").body)[0]["id"] == "101"


def test_delays_are_added_to_the_latency(one: Any) -> None:
    one.control("POST", "faults", {"latency_ms": 250})
    assert spoiled(one, kind="hang", seconds=30).delay == 30.25
    assert spoiled(one, kind="slow", ms=500).delay == 0.75
    one.control("DELETE", "faults")
    assert one.raw("/api/v4/projects").delay == 0


def test_a_page_can_be_served_twice(browse: Any) -> None:
    world = browse(projects=6)
    first = world.json("/projects?order_by=id&per_page=2&page=1")
    reply = spoiled(world, "/projects?order_by=id&per_page=2&page=2", kind="same_page")
    assert json.loads(reply.body) == first
    assert ("X-Page", "2") in reply.headers


def test_chance_spoils_a_share(one: Any) -> None:
    one.control("POST", "faults", {"rules": [{"kind": "status", "status": 500, "probability": 0.5}]})
    failed = [one.get("/version")[0] for _ in range(200)].count(500)
    assert 60 < failed < 140


@pytest.mark.parametrize(
    "call",
    [
        ("faults", {"rules": [{"kind": "nonsense"}]}),
        ("faults", {"rules": [{"kind": "status", "path": "("}]}),
        ("faults", {"rules": [{"kind": "status", "typo": 1}]}),
        ("action", {"action": "nonsense"}),
        ("action", {"action": "archive", "project": 999}),
        ("action", {"action": "new_pipeline", "project": 101, "story": "nonsense"}),
        ("advance", {}),
        ("advance", []),
    ],
)
def test_mistakes_in_control_requests_are_refused(one: Any, call: tuple[str, Any]) -> None:
    answer = one.control("POST", *call)
    assert answer["status"] == 400
    assert answer["error"]


def test_unknown_controls_are_404(one: Any) -> None:
    assert one.control("GET", "nonsense")["status"] == 404
