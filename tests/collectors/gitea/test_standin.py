"""The stand-in answers as the real Gitea did: the same keys, the same types, the same refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectors._standin.asking import Request
from collectors._standin.forge import Options
from collectors.gitea.standin.site import Site
from collectors.gitea.standin.world import GiteaForge

RECORDED = Path(__file__).parent / "recorded" / "1.27.3"
JOBS = (
    {"name": "build", "seconds": 5},
    {"name": "unit", "stage": "test", "status": "failed"},
    {"name": "lint", "stage": "test"},
    {"name": "ship", "stage": "deploy"},
)


@pytest.fixture
def site() -> Site:
    made = Site(GiteaForge(Options(start=1_780_000_000_000)), "http://gitea.test")
    made.world.create_project("acme/web")
    made.world.create_project("acme/lib")
    return made


def ask(site: Site, path: str, token: str = "standin-token") -> tuple[int, Any, dict[str, str]]:
    reply = site.handle(
        Request("GET", f"/api/v1{path}", {"authorization": f"token {token}"} if token else {})
    )
    headers = dict(reply.headers)
    is_json = headers["Content-Type"].startswith("application/json")
    return reply.status, json.loads(reply.body) if is_json else reply.body.decode(), headers


def a_run(site: Site, seconds: float, **given: Any) -> int:
    run = site.world.new_run(site.world.project("acme/web"), JOBS, **given)
    site.world.advance(round(seconds * 1000))
    return run.id


def shape(value: Any, optional: frozenset[str] = frozenset()) -> Any:
    """*value* with types in place of values; of a list, the first entry."""
    if isinstance(value, dict):
        return {key: shape(entry, optional) for key, entry in value.items() if key not in optional}
    if isinstance(value, list):
        return [shape(entry, optional) for entry in value[:1]]
    return type(value).__name__


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text())


def queued(site: Site) -> int:
    return a_run(site, 2)


def in_progress(site: Site) -> int:
    return a_run(site, 5)


def failed(site: Site) -> int:
    return a_run(site, 120)


def rerun(site: Site) -> int:
    run = site.world.run("acme/web", a_run(site, 120))
    site.world.rerun(run, failed_only=True)
    site.world.advance(1_500)
    return run.id


@pytest.mark.parametrize(
    ("name", "make", "path"),
    [
        ("run_in_progress", in_progress, "/repos/acme/web/actions/runs/{}"),
        ("run_failure", failed, "/repos/acme/web/actions/runs/{}"),
        ("run_rerun_failed_queued", rerun, "/repos/acme/web/actions/runs/{}"),
        ("attempt_1_of_partial", rerun, "/repos/acme/web/actions/runs/{}/attempts/1"),
        ("jobs_queued_and_blocked", queued, "/repos/acme/web/actions/runs/{}/jobs"),
        ("jobs_in_progress", in_progress, "/repos/acme/web/actions/runs/{}/jobs"),
        ("jobs_failure", failed, "/repos/acme/web/actions/runs/{}/jobs"),
        ("jobs_rerun_failed_queued", rerun, "/repos/acme/web/actions/runs/{}/jobs"),
        ("attempt_1_jobs_of_partial", rerun, "/repos/acme/web/actions/runs/{}/attempts/1/jobs"),
        ("admin_runners", queued, "/admin/actions/runners"),
        ("user_runners", queued, "/user/actions/runners"),
        ("repo", queued, "/repos/acme/web"),
        ("org_repos", queued, "/orgs/acme/repos?limit=1"),
        ("repos_search", queued, "/repos/search?limit=1"),
        ("user_repos", queued, "/user/repos?limit=1"),
    ],
)
def test_the_same_keys_and_types(site: Site, name: str, make: Callable[[Site], int], path: str) -> None:
    status, body, headers = ask(site, path.format(make(site)))
    want = recorded(name)
    assert (status, shape(body)) == (want["status"], shape(want["body"]))
    assert headers["Content-Type"] == want["headers"]["Content-Type"]


@pytest.mark.parametrize(
    ("name", "path", "token"),
    [
        ("error_no_token", "/repos/acme/web/actions/runs", ""),
        ("error_bad_token", "/repos/acme/web/actions/runs", "wrong"),
        ("error_no_such_run", "/repos/acme/web/actions/runs/99999", "standin-token"),
        ("error_hidden_repo", "/repos/acme/none/actions/runs", "standin-token"),
        ("error_bad_status", "/repos/acme/web/actions/runs?status=quantum", "standin-token"),
        ("error_no_such_path", "/nothing", "standin-token"),
    ],
)
def test_the_same_refusals(site: Site, name: str, path: str, token: str) -> None:
    status, body, _ = ask(site, path, token)
    want = recorded(name)
    if isinstance(body, dict):
        body["url"] = want["body"]["url"]
    assert (status, body) == (want["status"], want["body"])


def test_pages_are_linked_and_counted_as_recorded(site: Site) -> None:
    for _ in range(5):
        a_run(site, 1)
    status, body, headers = ask(site, "/repos/acme/web/actions/runs?limit=2&page=2")
    base = "http://gitea.test/api/v1/repos/acme/web/actions/runs?limit=2&page="
    assert (status, len(body["workflow_runs"]), body["total_count"]) == (200, 2, 5)
    links = (
        f'<{base}{page}>; rel="{name}"'
        for name, page in zip(("next", "last", "first", "prev"), (3, 3, 1, 1), strict=True)
    )
    assert headers["Link"] == ",".join(links)
    assert headers["X-Total-Count"] == "5"
    assert "Link" not in ask(site, "/admin/actions/runners?limit=1")[2]


def test_jobs_come_newest_first_when_asked_for(site: Site) -> None:
    for _ in range(2):
        a_run(site, 1)
    ids = [job["id"] for job in ask(site, "/admin/actions/jobs?sort=id&order=desc")[1]["jobs"]]
    assert ids == sorted(ids, reverse=True)
    ids = [job["id"] for job in ask(site, "/admin/actions/jobs")[1]["jobs"]]
    assert ids == sorted(ids)


def test_without_attempts_a_rerun_overwrites(site: Site) -> None:
    old = Site(GiteaForge(Options(start=1_780_000_000_000), attempts=False), "http://gitea.test")
    old.world.create_project("acme/web")
    number = rerun(old)
    body = ask(old, f"/repos/acme/web/actions/runs/{number}")[1]
    assert (body["run_attempt"], "previous_attempt_url" in body) == (0, False)
    assert ask(old, f"/repos/acme/web/actions/runs/{number}/attempts/1")[0] == 404
    assert ask(old, "/admin/actions/jobs")[1]["total_count"] == len(JOBS)
