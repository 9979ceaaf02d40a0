"""What can be made to happen in the stand-in by name."""

from __future__ import annotations

from typing import Any

import pytest

JOB = {"name": "unit", "stage": "test", "queue": 2, "run": 30}


def start(one: Any, *jobs: dict[str, Any], **given: Any) -> int:
    number: int = one.act("new_pipeline", project=101, jobs=list(jobs), **given)["pipeline_id"]
    return number


def test_one_job_can_be_retried_alone(one: Any) -> None:
    number = start(
        one, JOB | {"attempts": [{"outcome": "failed"}, {}]}, JOB | {"name": "other", "stage": "z"}
    )
    one.run(60)
    jobs = one.json(f"/projects/101/pipelines/{number}/jobs")
    failed = next(job for job in jobs if job["status"] == "failed")
    new = one.act("retry_job", job=failed["id"])["job_id"]
    assert one.json(f"/projects/101/pipelines/{number}")["status"] == "running"
    one.run(120)
    shown = {job["id"]: job["status"] for job in one.json(f"/projects/101/pipelines/{number}/jobs")}
    assert shown[new] == "success"
    assert failed["id"] not in shown
    assert set(shown.values()) == {"success"}
    assert one.control("POST", "action", {"action": "retry_job", "job": failed["id"]})["status"] == 400


def test_one_manual_or_delayed_job_can_be_played(one: Any) -> None:
    number = start(
        one, JOB | {"when": "manual", "allow_failure": True}, JOB | {"prelude": [["scheduled", 900]]}
    )
    one.run(5)
    jobs = one.json(f"/projects/101/pipelines/{number}/jobs")
    assert sorted(job["status"] for job in jobs) == ["manual", "scheduled"]
    for job in jobs:
        one.act("play", job=job["id"])
    one.run(60)
    assert one.json(f"/projects/101/pipelines/{number}")["status"] == "success"
    assert one.control("POST", "action", {"action": "play", "job": jobs[0]["id"]})["status"] == 400


def test_a_job_can_be_erased_and_read_alone(one: Any) -> None:
    number = start(one, JOB)
    one.run(60)
    job = one.json(f"/projects/101/pipelines/{number}/jobs")[0]
    assert job["erased_at"] is None
    one.act("erase_job", job=job["id"])
    assert one.json(f"/projects/101/jobs/{job['id']}")["erased_at"] > job["finished_at"]
    assert one.get("/projects/101/jobs/1000000")[0] == 404


def test_any_word_can_be_a_status(one: Any) -> None:
    number = start(one, JOB)
    one.run(5)
    job = one.json(f"/projects/101/pipelines/{number}/jobs")[0]
    one.act("set_status", job=job["id"], status="quantum")
    one.act("set_status", pipeline=number, status="quantum")
    one.run(100)
    assert one.json(f"/projects/101/pipelines/{number}")["status"] == "quantum"
    assert one.json(f"/projects/101/jobs/{job['id']}")["status"] == "quantum"


def test_a_bridge_reaches_another_project(one: Any) -> None:
    one.act("create_project", path="acme/down")
    number = start(one, {"name": "deploy", "downstream": {"jobs": [JOB], "project_id": 102}})
    one.run(60)
    down = one.json(f"/projects/101/pipelines/{number}/bridges")[0]["downstream_pipeline"]
    assert (down["project_id"], down["source"], down["ref"]) == (102, "pipeline", "main")
    assert [row["id"] for row in one.json("/projects/102/pipelines?source=pipeline")] == [down["id"]]
    one.act("delete_project", project=102)
    assert one.json(f"/projects/101/pipelines/{number}/bridges")[0]["downstream_pipeline"] is None


def test_a_bridge_to_nowhere_fails(one: Any) -> None:
    number = start(one, {"name": "deploy", "downstream": {"jobs": [JOB], "project_id": 999}})
    one.run(60)
    bridge = one.json(f"/projects/101/pipelines/{number}/bridges")[0]
    assert bridge["failure_reason"] == "downstream_bridge_project_not_found"
    assert one.json(f"/projects/101/pipelines/{number}")["status"] == "failed"


def test_canceling_and_deleting_reach_the_child(one: Any) -> None:
    number = start(one, JOB, {"name": "kids", "downstream": {"jobs": [JOB], "depend": True}})
    one.run(10)
    child = one.json(f"/projects/101/pipelines/{number}/bridges")[0]["downstream_pipeline"]["id"]
    one.act("cancel_pipeline", pipeline=number)
    one.run(20)
    assert one.json(f"/projects/101/pipelines/{child}")["status"] == "canceled"
    assert one.json(f"/projects/101/pipelines/{number}")["status"] == "canceled"
    one.act("delete_pipeline", pipeline=number)
    assert one.get(f"/projects/101/pipelines/{child}")[0] == 404


def test_refs_come_and_go(one: Any) -> None:
    one.act("create_branch", project=101, name="x/y")
    one.act("create_tag", project=101, name="v9")
    one.act("delete_tag", project=101, name="v1.0.0")
    assert one.json("/projects/101/repository/branches/x%2Fy")["name"] == "x/y"
    assert [row["name"] for row in one.json("/projects/101/repository/tags")] == ["v9", "v1.1.0"]
    assert one.get("/projects/101/repository/branches/none")[:2] == (404, {"message": "404 Branch Not Found"})
    one.act("close_mr", project=101, iid=1)
    assert one.json("/projects/101/merge_requests?state=closed")[0]["closed_at"]


def test_sources_and_tags_follow_the_ref(one: Any) -> None:
    for ref in ("refs/merge-requests/1/train", "v1.0.0", "main"):
        start(one, JOB, ref=ref)
    rows = one.json("/projects/101/pipelines?sort=asc")
    assert [row["source"] for row in rows] == ["merge_request_event", "push", "push"]
    assert [one.json(f"/projects/101/pipelines/{row['id']}")["tag"] for row in rows] == [False, True, False]
    one.run(60)
    kinds = {entry["pipeline_id"]: entry["ref_kind"] for entry in one.truth(kind="pipeline")}
    assert [kinds[row["id"]] for row in rows] == ["change_request", "tag", "branch"]


def test_what_has_ended_cannot_be_canceled_or_succeeded_be_retried(one: Any) -> None:
    number = start(one, JOB)
    one.run(60)
    for action in ("cancel_pipeline", "retry_pipeline"):
        assert one.control("POST", "action", {"action": action, "pipeline": number})["status"] == 400


@pytest.mark.parametrize("path", ["/version", "/metadata"])
def test_the_version_is_told(one: Any, path: str) -> None:
    assert one.json(path)["version"] == "18.5.0"


def test_groups_and_runners(one: Any) -> None:
    assert one.json("/groups/acme%2Fapps%2Fbackend")["full_path"] == "acme/apps/backend"
    assert {row["runner_type"] for row in one.json("/projects/101/runners")} >= {"instance_type"}
    assert one.control("GET", "state")["projects"] == 1
    assert one.raw("/-/health").body == b"GitLab OK"
