"""Lists of the stand-in: what is in them, in which order, and how they are paged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SHAPES = json.loads((Path(__file__).parent / "shapes.json").read_text())
# Keys of the old examples that GitLab has dropped since, or shows only to administrators.
DROPPED = {
    "pipelines": {
        "before_sha",
        "tag",
        "yaml_errors",
        "user",
        "started_at",
        "finished_at",
        "committed_at",
        "duration",
    },
    "project": {"code", "wall_enabled", "owner"},
    "group_projects": {"public", "visibility_level", "builds_enabled", "owner"},
    "user": {"skype", "linkedin", "twitter", "dark_scheme", "theme_id", "blocked", "created_at"},
    "namespace": {"created_at", "updated_at", "owner_id", "description"},
}
DROPPED_USER = {
    "bio",
    "created_at",
    "linkedin",
    "skype",
    "twitter",
    "website_url",
    "location",
    "organization",
}


def missing(shape: dict[str, Any], answer: dict[str, Any], dropped: set[str]) -> set[str]:
    gone = {key for key in shape if key not in answer and key not in dropped}
    for key, inner in shape.items():
        if inner and isinstance(answer.get(key), dict):
            known = DROPPED_USER if key == "user" else DROPPED.get(key, set())
            gone |= {f"{key}.{name}" for name in missing(inner, answer[key], known)}
    return gone


@pytest.fixture
def busy(browse: Any) -> Any:
    """A world with some history and one parent, its child and jobs in project 101."""
    world = browse(history_days=5, history_pipelines=200)
    child = {"jobs": [{"name": "kid", "run": 20}]}
    jobs = [{"name": "unit", "run": 30}, {"name": "kids", "downstream": child}]
    world.parent = world.act("new_pipeline", project=101, jobs=jobs)["pipeline_id"]
    world.run(120)
    return world


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("pipelines", "/projects/101/pipelines"),
        ("pipeline", "/projects/101/pipelines/{parent}"),
        ("pipeline_jobs", "/projects/101/pipelines/{parent}/jobs"),
        ("jobs", "/projects/101/jobs"),
        ("pipeline_bridges", "/projects/101/pipelines/{parent}/bridges"),
        ("project", "/projects/101"),
        ("group_projects", "/groups/acme/projects?include_subgroups=true"),
        ("user", "/user"),
    ],
)
def test_answers_have_every_key_of_the_recorded_ones(busy: Any, name: str, path: str) -> None:
    answer = busy.json(path.format(parent=busy.parent))
    first = answer[0] if isinstance(answer, list) else answer
    assert missing(SHAPES[name], first, DROPPED.get(name, set())) == set()


def test_pipeline_entries_carry_no_times_but_two(busy: Any) -> None:
    entry = busy.json("/projects/101/pipelines")[0]
    expected = "id iid project_id sha ref status source created_at updated_at web_url name"
    assert set(entry) == set(expected.split())


def walk(world: Any, path: str) -> tuple[list[Any], list[dict[str, str]]]:
    rows: list[Any] = []
    heads: list[dict[str, str]] = []
    while path:
        status, body, head = world.get(path)
        assert status == 200
        rows += body
        heads.append(head)
        links = dict(reversed(part.split("; rel=")) for part in head.get("Link", "").split(", ") if part)
        path = links.get('"next"', "").strip("<>").partition("/api/v4")[2] if body else ""
    return rows, heads


def test_offset_pages_have_totals_and_links_and_lose_nothing(busy: Any) -> None:
    rows, heads = walk(busy, "/projects/101/pipelines?per_page=7")
    assert len({row["id"] for row in rows}) == len(rows) == int(heads[0]["X-Total"])
    assert int(heads[0]["X-Total-Pages"]) == len(heads)
    assert (heads[0]["X-Prev-Page"], heads[0]["X-Next-Page"]) == ("", "2")
    assert (heads[-1]["X-Next-Page"], heads[-1]["X-Prev-Page"]) == ("", str(len(heads) - 1))
    assert 'rel="prev"' not in heads[0]["Link"]
    assert 'rel="last"' in heads[0]["Link"]
    assert 'rel="next"' not in heads[-1]["Link"]


def test_default_page_is_20_and_the_most_is_100(busy: Any) -> None:
    assert len(busy.json("/projects/101/pipelines")) == 20
    assert busy.get("/projects/101/pipelines?per_page=500")[2]["X-Per-Page"] == "100"


def test_jobs_have_no_totals(busy: Any) -> None:
    for path in (f"/projects/101/pipelines/{busy.parent}/jobs", "/projects/101/jobs"):
        head = busy.get(path)[2]
        assert "X-Total" not in head
        assert 'rel="last"' not in head["Link"]
        assert head["X-Page"] == "1"


def test_totals_are_left_out_above_10000(browse: Any) -> None:
    world = browse(projects=1, history_days=20, history_pipelines=11_000)
    head = world.get("/projects/101/pipelines")[2]
    assert "X-Total" not in head
    assert "X-Total-Pages" not in head
    assert 'rel="last"' not in head["Link"]
    assert head["X-Next-Page"] == "2"


def test_keyset_of_jobs_reads_all_newest_first(busy: Any) -> None:
    rows, _ = walk(busy, "/projects/101/jobs?pagination=keyset&per_page=9")
    ids = [row["id"] for row in rows]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == len(ids) > 50


def test_keyset_of_projects_ends_with_an_empty_page_without_link(busy: Any) -> None:
    rows, heads = walk(busy, "/projects?pagination=keyset&order_by=id&sort=asc&per_page=2")
    assert [row["id"] for row in rows] == [101, 102, 103, 104, 105, 106]
    assert "Link" not in heads[-1]
    assert "Link" in heads[-2]


def test_updated_after_is_inclusive_and_ascending_order_follows_it(busy: Any) -> None:
    newest_last = "/projects/101/pipelines?order_by=updated_at&sort=asc&per_page=100"
    everything = busy.json(newest_last)
    times = [row["updated_at"] for row in everything]
    assert times == sorted(times)
    for place in (0, 5, len(times) - 1):
        assert busy.json(f"{newest_last}&updated_after={times[place]}") == everything[place:]
        assert busy.json(f"{newest_last}&updated_before={times[place]}") == everything[: place + 1]


def test_children_are_hidden_unless_their_source_is_asked_for(busy: Any) -> None:
    plain = busy.json("/projects/101/pipelines?per_page=100")
    assert {row["source"] for row in plain}.isdisjoint({"parent_pipeline"})
    children = busy.json("/projects/101/pipelines?source=parent_pipeline&per_page=100")
    assert {row["source"] for row in children} == {"parent_pipeline"}
    assert busy.json(f"/projects/101/pipelines/{children[0]['id']}")["id"] == children[0]["id"]


def test_scope_branches_is_the_latest_of_each_branch_that_exists(one: Any) -> None:
    ids = [
        one.act("new_pipeline", project=101, ref=ref)["pipeline_id"] for ref in ("main", "develop", "main")
    ]
    one.act("new_pipeline", project=101, ref="v1.0.0")
    one.run(1)
    assert [row["id"] for row in one.json("/projects/101/pipelines?scope=branches")] == [ids[2], ids[1]]
    assert [row["ref"] for row in one.json("/projects/101/pipelines?scope=tags")] == ["v1.0.0"]
    one.act("delete_branch", project=101, name="develop")
    assert [row["id"] for row in one.json("/projects/101/pipelines?scope=branches")] == [ids[2]]
    assert len(one.json("/projects/101/pipelines?ref=develop")) == 1


def test_filters_narrow_the_list(busy: Any) -> None:
    for row in busy.json("/projects/101/pipelines?status=failed&per_page=100"):
        assert row["status"] == "failed"
    finished = busy.json("/projects/101/pipelines?scope=finished&per_page=100")
    assert {row["status"] for row in finished} <= {"success", "failed", "canceled", "skipped"}
    row = finished[0]
    assert row["id"] in [other["id"] for other in busy.json(f"/projects/101/pipelines?sha={row['sha']}")]
    created = busy.json(f"/projects/101/pipelines?created_after={row['created_at']}")
    assert row["id"] in [other["id"] for other in created]


def test_job_scope_takes_several_statuses(busy: Any) -> None:
    jobs = busy.json("/projects/101/jobs?scope[]=failed&scope[]=canceled&per_page=100")
    assert {job["status"] for job in jobs} <= {"failed", "canceled"}


def test_groups_list_direct_projects_unless_subgroups_are_included(browse: Any) -> None:
    world = browse(projects=12)
    direct = world.json("/groups/acme/projects?per_page=100")
    below = world.json("/groups/acme/projects?include_subgroups=true&per_page=100&simple=true")
    assert {row["namespace"]["full_path"] for row in direct} == {"acme"}
    assert len(direct) < len(below) < 12
    assert "archived" not in below[0]
    nested = world.json("/groups/acme%2Fapps%2Fbackend/projects")
    assert all(row["path_with_namespace"].startswith("acme/apps/backend/") for row in nested)
    owner = next(row for row in world.json("/projects?per_page=100") if row["namespace"]["kind"] == "user")
    assert owner["id"] in [row["id"] for row in world.json(f"/users/{owner['namespace']['path']}/projects")]


def test_merge_requests_change_state(one: Any) -> None:
    iid = one.act("open_mr", project=101)["iid"]
    one.act("merge_mr", project=101, iid=iid)
    assert iid not in [row["iid"] for row in one.json("/projects/101/merge_requests?state=opened")]
    assert one.json("/projects/101/merge_requests?state=merged")[0]["merged_at"]


def test_refs_can_be_searched(one: Any) -> None:
    assert [row["name"] for row in one.json("/projects/101/repository/branches?search=^feat")] == [
        "feature/101-a.b"
    ]
    assert [row["name"] for row in one.json("/projects/101/repository/branches?regex=^de")] == ["develop"]
    assert one.json("/projects/101/repository/branches/feature%2F101-a%2Eb")["name"] == "feature/101-a.b"
    assert [row["name"] for row in one.json("/projects/101/repository/tags?search=1.1")] == ["v1.1.0"]


def test_coverage_is_text_and_offsets_are_kept(browse: Any) -> None:
    world = browse(projects=0, offset="+02:00")
    world.act("create_project", path="acme/p")
    number = world.act("new_pipeline", project=101, jobs=[{"name": "unit", "coverage": 83.5}])["pipeline_id"]
    world.run(60)
    detail = world.json(f"/projects/101/pipelines/{number}")
    assert detail["coverage"] == "83.5"
    assert detail["created_at"].endswith(".000+02:00")
    encoded = detail["updated_at"].replace("+", "%2B")
    assert len(world.json(f"/projects/101/pipelines?updated_after={encoded}")) == 1
    assert world.get(f"/projects/101/pipelines?updated_after={detail['updated_at']}")[0] == 400
