"""GraphQL of the stand-in: answers that agree with the truth, and refusals as GitLab words them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from collectors._standin.asking import Request
from collectors.gitlab.standin.client import StandIn

COLLECTOR_QUERY = """
query($first: Int, $after: String) {
  queryComplexity { score limit }
  runners(first: $first, after: $after) {
    count
    pageInfo { endCursor hasNextPage }
    nodes {
      id runnerType status paused contactedAt tagList jobExecutionStatus jobCount
      managers(first: 5) { nodes { systemId version status contactedAt } }
    }
  }
}
"""
REFUSED = (
    "The resource that you are attempting to access does not exist or you don't have permission to perform "
    "this action"
)
Ask = Callable[..., dict[str, Any]]


def lively(browse: Any) -> Any:
    """Half an hour of a busy world with 14 runners, read by an administrator."""
    busy = {"pipelines_per_hour": 600, "history_days": 1, "history_pipelines": 100}
    browser = browse(runners=14, admin=True, stories={"no_runner": 30}, **busy)
    browser.run(1800)
    return browser


@pytest.fixture(scope="module")
def shared(browse: Any) -> Any:
    """A world for those who leave it as it is: it takes half a second to make."""
    return lively(browse)


@pytest.fixture
def own(browse: Any) -> Any:
    """A world that a test may change."""
    return lively(browse)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Any:
    """The test's own world if it uses one, else the shared one."""
    return request.getfixturevalue("own" if "own" in request.fixturenames else "shared")


@pytest.fixture
def ask(world: Any) -> Ask:
    """Asks a query with variables; the answer is the whole JSON."""
    return lambda query, **variables: asked(world, {"query": query, "variables": variables})


def asked(browser: Any, body: object) -> Any:
    reply = browser.raw("/api/graphql", "POST", body)
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


def number(gid: str) -> int:
    return int(gid.rpartition("/")[2])


def test_runners_are_told_as_they_are(world: Any, ask: Ask) -> None:
    data = ask(COLLECTOR_QUERY, first=100)["data"]
    truth = world.control("GET", "fleet")["runners"]
    assert data["runners"]["count"] == len(truth) == 14
    assert data["queryComplexity"]["limit"] == 250
    known = {number(node["id"]): node for node in data["runners"]["nodes"]}
    for runner in truth:
        node = known[runner["id"]]
        assert node["id"] == f"gid://gitlab/Ci::Runner/{runner['id']}"
        assert node["runnerType"] == runner["runner_type"].upper()
        assert node["status"] == runner["status"].upper()
        assert (node["paused"], node["tagList"]) == (runner["paused"], runner["tags"])
        assert node["jobExecutionStatus"] == ("ACTIVE" if runner["running"] else "IDLE")
        assert node["jobCount"] == runner["taken"]
        assert len(node["managers"]["nodes"]) == len(runner["managers"])
        if runner["contacted_at"] is None:
            assert node["contactedAt"] is None
        else:
            assert node["contactedAt"] == f"{runner['contacted_at'][:19]}Z"
    assert any(runner["running"] for runner in truth)


@pytest.mark.usefixtures("own")
def test_pages_are_newest_first_and_hold_on_when_runners_come_and_go(world: Any, ask: Ask) -> None:
    first = ask(COLLECTOR_QUERY, first=5)["data"]["runners"]
    assert [number(node["id"]) for node in first["nodes"]] == [14, 13, 12, 11, 10]
    assert first["pageInfo"]["hasNextPage"]
    world.act("new_runner")
    world.act("remove_runner", runner=10)
    seen = first["nodes"]
    info = first["pageInfo"]
    while info["hasNextPage"]:
        page = ask(COLLECTOR_QUERY, first=5, after=info["endCursor"])["data"]["runners"]
        seen, info = seen + page["nodes"], page["pageInfo"]
    assert [number(node["id"]) for node in seen] == list(range(14, 0, -1))


def test_jobs_of_the_instance_are_those_that_wait_and_run(world: Any, ask: Ask) -> None:
    data = ask(
        "{ waiting: jobs(statuses: [PENDING]) { count nodes { id status tags stuck queuedAt queuedDuration"
        " runner { id } project { fullPath } } }"
        " running: jobs(statuses: RUNNING) { count nodes { id runner { id runnerType } } } }"
    )["data"]
    truth = world.control("GET", "fleet")["jobs"]
    waiting = {entry["job_id"]: entry for entry in truth if entry["status"] == "pending"}
    running = {entry["job_id"]: entry for entry in truth if entry["status"] == "running"}
    assert data["waiting"]["count"] == len(waiting) > 0
    assert data["running"]["count"] == len(running) > 0
    for node in data["waiting"]["nodes"]:
        told = waiting[number(node["id"])]
        assert (node["status"], node["runner"]) == ("PENDING", None)
        assert (node["tags"], node["stuck"]) == (told["tags"], told["stuck"])
        assert node["project"]["fullPath"] == told["project"]
        assert node["queuedAt"] == f"{told['queued_at'][:19]}Z"
        assert node["queuedDuration"] >= 0
    for node in data["running"]["nodes"]:
        assert number(node["runner"]["id"]) == running[number(node["id"])]["runner_id"]


def test_the_runner_type_leaves_no_jobs_that_wait(ask: Ask) -> None:
    query = "{ jobs(statuses: [%s], runnerTypes: [INSTANCE_TYPE, GROUP_TYPE, PROJECT_TYPE]) { count } }"
    assert ask(query % "PENDING")["data"]["jobs"]["count"] == 0
    assert ask(query % "RUNNING")["data"]["jobs"]["count"] > 0


def test_jobs_are_counted_no_further_than_asked(ask: Ask) -> None:
    assert ask("{ jobs { count(limit: 7) } }")["data"]["jobs"]["count"] == 8
    assert ask("{ jobs { count } }")["data"]["jobs"]["count"] == 1001


def test_a_project_and_a_group_show_their_runners_and_jobs(world: Any, ask: Ask) -> None:
    path = world.world.people.projects[101].path
    project = ask(
        "query($path: ID!) { project(fullPath: $path) { id fullPath runners(first: 100) { nodes { id } }"
        " jobs(first: 100) { nodes { id status } } } }",
        path=path,
    )["data"]["project"]
    assert (project["id"], project["fullPath"]) == ("gid://gitlab/Project/101", path)
    of_rest = {row["id"] for row in world.json("/projects/101/runners?per_page=100")}
    assert {number(node["id"]) for node in project["runners"]["nodes"]} == of_rest
    newest = [
        row["id"] for row in world.json("/projects/101/jobs?per_page=100") if row["status"] != "created"
    ]
    assert [number(node["id"]) for node in project["jobs"]["nodes"]][:20] == newest[:20]


@pytest.mark.parametrize(
    ("membership", "expected"),
    [
        ("", {3, 4, 10, 11, 13, 14}),
        ("(membership: DIRECT)", {3, 13}),
        ("(membership: ALL_AVAILABLE)", set(range(1, 15))),
    ],
)
def test_membership_says_which_runners_of_a_group(ask: Ask, membership: str, expected: set[int]) -> None:
    data = ask(f'{{ group(fullPath: "acme") {{ runners{membership} {{ nodes {{ id }} }} }} }}')["data"]
    assert {number(node["id"]) for node in data["group"]["runners"]["nodes"]} == expected


@pytest.mark.parametrize(
    ("given", "rest"),
    [
        ("type: INSTANCE_TYPE", "type=instance_type"),
        ("status: OFFLINE", "status=offline"),
        ("status: ONLINE, paused: false", "status=online&paused=false"),
        ("paused: true", "paused=true"),
        ('tagList: ["large"]', "tag_list=large"),
    ],
)
def test_filters_are_those_of_rest(world: Any, ask: Ask, given: str, rest: str) -> None:
    expected = {row["id"] for row in world.json(f"/runners/all?{rest}")}
    nodes = ask(f"{{ runners({given}) {{ nodes {{ id }} }} }}")["data"]["runners"]["nodes"]
    assert {number(node["id"]) for node in nodes} == expected != set()


def test_projects_of_a_group_and_of_a_runner(world: Any, ask: Ask) -> None:
    query = '{ group(fullPath: "acme") { projects(%s) { count nodes { fullPath } } } }'
    direct = ask(query.replace("(%s)", ""))["data"]["group"]["projects"]
    every = ask(query.replace("%s", "includeSubgroups: true"))["data"]["group"]["projects"]
    assert direct["count"] == len(world.json("/groups/acme/projects?per_page=100"))
    assert every["count"] == len(world.json("/groups/acme/projects?include_subgroups=true&per_page=100"))
    assert direct["count"] < every["count"]
    found = ask('{ runner(id: "gid://gitlab/Ci::Runner/4") { projectCount projects { nodes { id } } } }')
    assert found["data"]["runner"] == {
        "projectCount": 1,
        "projects": {"nodes": [{"id": "gid://gitlab/Project/101"}]},
    }


def test_one_runner_is_found_by_its_global_id(world: Any, ask: Ask) -> None:
    query = (
        "query($id: CiRunnerID!) { runner(id: $id) { description createdAt groups { nodes { fullPath } }"
        " jobs(first: 3) { count nodes { name runnerManager { systemId runner { id } } } } } }"
    )
    found = ask(query, id="gid://gitlab/Ci::Runner/3")["data"]["runner"]
    assert found["description"] == "group-large"
    assert found["groups"]["nodes"] == [{"fullPath": "acme"}]
    assert found["jobs"]["count"] == world.control("GET", "fleet")["runners"][2]["taken"]
    assert found["jobs"]["nodes"][0]["runnerManager"]["runner"]["id"] == "gid://gitlab/Ci::Runner/3"
    assert ask(query, id="gid://gitlab/Ci::Runner/99") == {"data": {"runner": None}}
    assert "does not represent" in ask(query, id="3")["errors"][0]["message"]


def test_what_does_not_exist_is_null_without_an_error(ask: Ask) -> None:
    answer = ask('{ group(fullPath: "none") { id } project(fullPath: "none/x") { id } }')
    assert answer == {"data": {"group": None, "project": None}}


@pytest.mark.usefixtures("own")
def test_who_is_no_administrator_gets_an_error_for_runners_and_no_jobs(world: Any, ask: Ask) -> None:
    world.act("set_admin", admin=False)
    answer = ask('{ runners { count } jobs(statuses: PENDING) { count } group(fullPath: "acme") { id } }')
    assert answer["data"] == {"runners": None, "jobs": {"count": 0}, "group": {"id": "gid://gitlab/Group/11"}}
    assert [(error["message"], error["path"]) for error in answer["errors"]] == [(REFUSED, ["runners"])]


def test_jobs_of_many_runners_at_once_are_refused(ask: Ask) -> None:
    answer = ask("{ runners(first: 2) { nodes { jobs { count } } } }")
    one, other = answer["data"]["runners"]["nodes"]
    assert one["jobs"] is not None
    assert other["jobs"] is None
    [error] = answer["errors"]
    assert error["message"] == '"jobs" field can be requested only for 1 CiRunner(s) at a time.'


def test_an_unknown_field_or_argument_fails_the_whole_query(ask: Ask) -> None:
    answer = ask("{ metadata { version } runners { nodes { coffee } } }")
    assert "data" not in answer
    [error] = answer["errors"]
    assert error["message"] == "Field 'coffee' doesn't exist on type 'CiRunner'"
    assert error["extensions"] == {"code": "undefinedField", "typeName": "CiRunner", "fieldName": "coffee"}
    [error] = ask("{ runners(coffee: 1) { count } }")["errors"]
    assert error["extensions"]["code"] == "argumentNotAccepted"


@pytest.mark.usefixtures("own")
def test_an_older_gitlab_lacks_fields_and_arguments(world: Any, ask: Ask) -> None:
    missing = ["CiRunner.jobExecutionStatus", "Query.jobs.runnerTypes"]
    world.act("set_graphql", missing=missing)
    [error] = ask(COLLECTOR_QUERY, first=5)["errors"]
    assert error["extensions"]["fieldName"] == "jobExecutionStatus"
    [error] = ask("{ jobs(runnerTypes: [GROUP_TYPE]) { count } }")["errors"]
    assert error["extensions"]["argumentName"] == "runnerTypes"
    assert ask("{ jobs(statuses: PENDING) { count } }")["data"]
    world.act("set_graphql")
    assert "errors" not in ask(COLLECTOR_QUERY, first=5)


@pytest.mark.parametrize("name", ["CiRunner.coffee", "Coffee.id", "Query.jobs.coffee"])
def test_what_is_missing_has_to_be_in_the_schema(world: Any, name: str) -> None:
    given = {"action": "set_graphql", "missing": [name]}
    answer = world.control("POST", "action", given)
    assert (answer["status"], answer["error"]) == (400, f"ValueError: no {name} in the schema")


@pytest.mark.usefixtures("own")
def test_without_the_library_there_is_no_graphql(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "collectors.gitlab.standin.graphql_api", None)
    assert world.raw("/api/graphql", "POST", {"query": "{ metadata { version } }"}).status == 404


def test_a_complex_query_is_refused_with_its_score(ask: Ask) -> None:
    field = "project { runners { nodes { managers { nodes { runner { managers { nodes { id } } } } } } } }"
    query = "query($n: Int) { queryComplexity { score } jobs(first: $n) { nodes { %s } } }"
    cheap = ask(query % "id project { fullPath }", n=10)["data"]["queryComplexity"]["score"]
    assert cheap < ask(query % "id project { fullPath }", n=100)["data"]["queryComplexity"]["score"] < 30
    answer = ask(query % f"{field} a: {field} b: {field} c: {field}", n=100)
    assert list(answer) == ["errors"]
    assert "which exceeds max complexity of 250" in answer["errors"][0]["message"]


def test_the_score_follows_gitlabs_rule(ask: Ask) -> None:
    spread = "fragment f on CiRunnerConnection { count nodes { ... on CiRunner { id } } }"
    for inside in ("count nodes { id }", "...f"):
        query = f"{{ queryComplexity {{ score }} runners(first: 50) {{ {inside} }} }}"
        query += spread if "..." in inside else ""
        # 2 for the score, and 1 + (count 1 + nodes 1 + id 1) for the list, of which 50 rows make half more.
        assert ask(query)["data"]["queryComplexity"]["score"] == 2 + 4 + 2


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"query": ""}, 200, "No query string was present"),
        ({"query": "{"}, 200, "Syntax Error"),
        ({"query": '{ jobs(after: "x") { nodes { id } } }'}, 200, "valid cursor"),
        ({"query": "{ metadata { version } }" + " " * 10_000}, 422, "Query too large"),
        (["not a query"], 400, "Unexpected end of document"),
    ],
)
def test_mistakes_are_told(world: Any, body: object, status: int, message: str) -> None:
    reply = world.raw("/api/graphql", "POST", body)
    assert reply.status == status
    assert message in json.loads(reply.body)["errors"][0]["message"]


def test_a_body_that_is_no_json_is_400(world: Any) -> None:
    known = {"private-token": world.site.token}
    assert world.site.handle(Request("POST", "/api/graphql", known, b"{")).status == 400


def test_one_of_several_operations_is_executed(world: Any) -> None:
    body = {"query": "query a { metadata { version } } query b { runners { count } }", "operationName": "b"}
    assert asked(world, body) == {"data": {"runners": {"count": 14}}}
    assert "errors" in asked(world, {**body, "operationName": None})


def test_a_list_of_queries_gets_a_list_of_answers(world: Any) -> None:
    queries = [{"query": "{ metadata { version } }"}, {"query": "{ coffee }"}]
    first, second = asked(world, queries)
    assert first == {"data": {"metadata": {"version": "18.5.0"}}}
    assert list(second) == ["errors"]


@pytest.mark.usefixtures("own")
def test_it_can_be_off_and_needs_the_token(world: Any) -> None:
    query = {"query": "{ metadata { version } }"}
    wrong = world.raw("/api/graphql", "POST", query, **{"private-token": "wrong"})
    assert (wrong.status, json.loads(wrong.body)) == (401, {"errors": [{"message": "Invalid token"}]})
    bearer = {"private-token": "", "authorization": f"Bearer {world.site.token}"}
    assert world.raw("/api/graphql", "POST", query, **bearer).status == 200
    assert world.raw("/api/graphql").status == 405
    world.act("set_graphql", enabled=False)
    assert world.raw("/api/graphql", "POST", query).status == 404


@pytest.mark.usefixtures("own")
def test_requests_are_counted_limited_and_spoiled_as_all_others(world: Any) -> None:
    query = {"query": "{ metadata { version } }"}
    world.control("POST", "faults", {"rules": [{"kind": "status", "status": 502, "path": "graphql"}]})
    assert world.raw("/api/graphql", "POST", query).status == 502
    world.control("POST", "faults", {"rules": [{"kind": "truncated_json", "path": "graphql"}]})
    assert len(world.raw("/api/graphql", "POST", query).body) < 30
    world.control("DELETE", "faults")
    world.act("set_rate_limit", per_minute=1)
    assert [world.raw("/api/graphql", "POST", query).status for _ in range(4)][-1] == 429
    known = world.control("GET", "requests?log=1")
    assert known["by_endpoint"] == {"POST /graphql": 6}
    assert set(known["recent"]) == {"POST /api/graphql"}


def test_over_a_socket_with_the_options_of_the_command_line(tmp_path: Path) -> None:
    options = {"projects": 2, "runners": 5, "admin": True, "graphql_missing": ["CiRunner.jobCount"]}
    with StandIn.start(**options) as running:
        assert running.graphql("{ runners { count } }") == (200, {"data": {"runners": {"count": 5}}})
        assert "errors" in running.graphql("{ runners { nodes { jobCount } } }")[1]
        assert len(running.fleet()["runners"]) == 5
        running.faults({"kind": "drop", "path": "graphql", "count": 1})
        with pytest.raises(requests.exceptions.ConnectionError):
            requests.post(f"{running.url}/api/graphql", json={"query": "{ x }"}, timeout=60)


def test_without_graphql_it_is_404() -> None:
    with StandIn.start(projects=0, no_graphql=True) as running:
        assert running.graphql("{ metadata { version } }")[0] == 404
