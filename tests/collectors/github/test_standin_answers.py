"""The stand-in answers as GitHub's own description says, and knows what may be asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import pytest

from tests.support.githubs import GitHubLab

RUNS = "/repos/acme/p/actions/runs"


@pytest.fixture
def valid(recorded: dict[str, Any]) -> Callable[[str, Any], None]:
    def check(endpoint: str, body: Any) -> None:
        schema = {**recorded["answers"][endpoint], "definitions": recorded["definitions"]}
        jsonschema.Draft7Validator(schema).validate(body)

    return check


@pytest.fixture
def lived(lab: GitHubLab) -> tuple[GitHubLab, int]:
    """A repository in which one run was run again, another is under way, and a third was skipped through."""
    first = lab.pipeline(story="failing")
    lab.advance(300)
    lab.act("rerun", project="acme/p", pipeline_id=first, failed_only=True)
    lab.advance(300)
    lab.act("open_pull", project="acme/p", number=7, head="feature")
    lab.pipeline(ref="feature", ref_kind="change_request", source="pull_request")
    lab.pipeline(ref="v1", ref_kind="tag")
    lab.pipeline({"name": "late", "queue": 3600})
    lab.advance(10)
    return lab, first


def test_every_answer_has_the_documented_shape(
    lived: tuple[GitHubLab, int], valid: Callable[[str, Any], None]
) -> None:
    lab, first = lived
    asked = {
        "repos/:repo": "/repos/acme/p",
        "orgs/:name/repos": "/orgs/acme/repos",
        "users/:name/repos": "/users/acme/repos",
        "user/repos": "/user/repos",
        "installation/repositories": "/installation/repositories",
        "repos/:repo/actions/runs": RUNS,
        "repos/:repo/actions/runs/:id": f"{RUNS}/{first}",
        "repos/:repo/actions/runs/:id/attempts/:id": f"{RUNS}/{first}/attempts/1",
        "repos/:repo/actions/runs/:id/jobs": f"{RUNS}/{first}/jobs?filter=all",
        "repos/:repo/actions/runners": "/repos/acme/p/actions/runners",
        "orgs/:name/actions/runners": "/orgs/acme/actions/runners",
        "repos/:repo/git/matching-refs/:name": "/repos/acme/p/git/matching-refs/tags/",
        "repos/:repo/git/ref/:name": "/repos/acme/p/git/ref/tags/v1",
    }
    for endpoint, path in asked.items():
        status, body, _ = lab.server.get(path)
        assert status == 200, path
        assert body, path
        valid(endpoint, body)


def test_what_the_collector_asks_is_documented(lab: GitHubLab, recorded: dict[str, Any]) -> None:
    lab.pipeline(story="failing")
    lab.run(120, 30)
    lab.restart()
    lab.exporter.poll()
    asked = lab.server.requests(log=True)["recent"]
    names = {"runs", "jobs", "repos"}
    for line in asked:
        parts = urlsplit(line.partition(" ")[2])
        last = parts.path.rpartition("/")[2]
        endpoint = "orgs/:name/repos" if last == "repos" else f"repos/:repo/actions/{last}"
        if last == "jobs":
            endpoint = "repos/:repo/actions/runs/:id/jobs"
        if last in names:
            assert set(parse_qs(parts.query)) <= set(recorded["query_parameters"][endpoint]), line
            names.discard(last)
    assert names == set()


def test_a_carried_over_job_is_a_copy_with_an_id_of_its_own(lived: tuple[GitHubLab, int]) -> None:
    lab, first = lived
    _, body, _ = lab.server.get(f"{RUNS}/{first}/jobs?filter=all")
    builds = [job for job in body["jobs"] if job["name"] == "build"]
    assert [job["run_attempt"] for job in builds] == [1, 2]
    assert builds[0]["id"] != builds[1]["id"]
    assert builds[0]["completed_at"] == builds[1]["completed_at"] < builds[1]["created_at"]


def test_what_did_not_change_is_free(lab: GitHubLab) -> None:
    _, _, headers = lab.server.get(RUNS)
    used = lab.server.limits()["used"]
    status, body, again = lab.server.get(RUNS, If_None_Match=headers["etag"])
    assert (status, body, again["etag"]) == (304, None, headers["etag"])
    assert lab.server.limits()["used"] == used
    lab.pipeline()
    status, _, again = lab.server.get(RUNS, If_None_Match=headers["etag"])
    assert status == 200
    assert again["etag"] != headers["etag"]
    assert lab.server.limits()["used"] == used + 1


def test_a_search_finds_a_thousand_and_tells_how_many_there_are(lab: GitHubLab) -> None:
    lab.act("burst", project="acme/p", count=1_010, seconds=0)
    everything = f"{RUNS}?per_page=100&page=11"
    assert len(lab.server.get(everything)[1]["workflow_runs"]) == 10
    status, body, _ = lab.server.get(f"{everything}&event=push")
    assert (status, body["total_count"], body["workflow_runs"]) == (200, 1_010, [])
    _, _, headers = lab.server.get(f"{RUNS}?per_page=100&page=10&event=push")
    assert 'rel="next"' not in headers["link"]


def test_a_renamed_repository_is_a_redirect_away(lab: GitHubLab) -> None:
    lab.act("rename", project="acme/p", path="acme/new")
    status, _, headers = lab.server.get(f"{RUNS}?per_page=5")
    assert status == 301
    assert headers["location"].endswith("/actions/runs?per_page=5")
    assert lab.server.get("/repos/acme/new")[0] == 200
    assert lab.server.get(headers["location"].partition("/api/v3")[2])[0] == 200


def test_who_is_nobody_is_told_so(lab: GitHubLab) -> None:
    status, body, _ = lab.server.get("/repos/acme/p", Authorization="Bearer wrong")
    assert (status, body["message"]) == (401, "Bad credentials")
    assert lab.server.get("/repos/acme/gone")[0] == 404
