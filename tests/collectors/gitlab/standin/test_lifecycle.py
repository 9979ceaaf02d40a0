"""How pipelines and jobs of the stand-in live, seen through its API."""

from __future__ import annotations

from typing import Any

JOB = {"name": "unit", "stage": "test", "queue": 2, "run": 30}


def start(one: Any, *jobs: dict[str, Any], **given: Any) -> str:
    number = one.act("new_pipeline", project="acme/p", jobs=list(jobs), **given)["pipeline_id"]
    return f"/projects/101/pipelines/{number}"


def test_a_normal_run_goes_from_created_to_success_with_whole_second_duration(one: Any) -> None:
    path = start(one, JOB)
    assert one.json(path)["status"] == "created"
    one.run(1)
    assert one.json(path)["status"] == "pending"
    one.run(5)
    assert one.json(path)["status"] == "running"
    one.run(60)
    done = one.json(path)
    assert (done["status"], done["duration"], done["queued_duration"]) == ("success", 30, 2)
    assert done["finished_at"] == done["updated_at"]


def test_waits_of_under_a_second_are_null(one: Any) -> None:
    path = start(one, JOB | {"queue": 0})
    one.run(60)
    assert one.json(path)["queued_duration"] is None


def test_a_failed_stage_skips_the_later_ones(one: Any) -> None:
    path = start(one, JOB | {"outcome": "failed", "reason": "stuck_or_timeout_failure"}, JOB | {"stage": "z"})
    one.run(60)
    later, first = one.json(f"{path}/jobs")
    assert (first["status"], first["failure_reason"]) == ("failed", "stuck_or_timeout_failure")
    assert (later["status"], later["started_at"], later["finished_at"]) == ("skipped", None, None)
    assert "failure_reason" not in later
    assert one.json(path)["status"] == "failed"


def test_a_failure_that_is_allowed_does_not_fail_the_pipeline(one: Any) -> None:
    path = start(one, JOB | {"outcome": "failed", "allow_failure": True})
    one.run(60)
    assert one.json(path)["status"] == "success"


def test_an_automatic_retry_is_a_new_job_and_the_old_one_shows_only_when_asked_for(one: Any) -> None:
    tries = [{"outcome": "failed", "run": 10}, {"run": 10}]
    path = start(one, {"name": "unit", "attempts": tries, "auto_retry": True})
    one.run(60)
    shown, everything = one.json(f"{path}/jobs"), one.json(f"{path}/jobs?include_retried=true")
    assert [job["status"] for job in shown] == ["success"]
    assert [job["status"] for job in everything] == ["success", "failed"]
    assert everything[0]["id"] > everything[1]["id"]
    assert one.json(path)["status"] == "success"
    assert len(one.truth(kind="pipeline")) == 1
    assert len(one.truth(kind="job")) == 2


def test_a_retried_pipeline_runs_at_once_and_shows_the_old_end_until_the_new_one(one: Any) -> None:
    path = start(
        one, {"name": "unit", "attempts": [{"outcome": "failed", "run": 10}, {"run": 50, "queue": 5}]}
    )
    one.run(60)
    old = one.json(path)
    assert old["status"] == "failed"
    one.act("retry_pipeline", pipeline=old["id"])
    again = one.json(path)
    assert again["status"] == "running"
    assert (again["finished_at"], again["duration"]) == (old["finished_at"], old["duration"])
    assert again["updated_at"] > old["updated_at"]
    one.run(3)
    assert one.json(path)["status"] == "running"
    one.run(100)
    new = one.json(path)
    assert (new["id"], new["status"], new["duration"]) == (old["id"], "success", 50)
    assert new["finished_at"] > old["finished_at"]
    assert [entry["execution"] for entry in one.truth(kind="pipeline")] == [1, 2]


def test_a_manual_job_played_later_is_another_execution(one: Any) -> None:
    path = start(one, JOB, JOB | {"name": "ship", "stage": "z", "when": "manual", "allow_failure": True})
    one.run(60)
    first = one.json(path)
    assert first["status"] == "success"
    one.act("play", pipeline=first["id"])
    assert one.json(path)["status"] == "running"
    one.run(60)
    second = one.json(path)
    assert second["status"] == "success"
    assert second["finished_at"] > first["finished_at"]
    assert second["duration"] == 60
    assert [entry["status"] for entry in one.truth(kind="pipeline")] == ["success", "success"]


def test_a_blocking_manual_job_holds_the_pipeline(one: Any) -> None:
    path = start(one, JOB, JOB | {"name": "gate", "stage": "y", "when": "manual"}, JOB | {"stage": "z"})
    one.run(60)
    assert (one.json(path)["status"], one.json(path)["finished_at"]) == ("manual", None)
    assert one.truth(kind="pipeline") == []


def test_canceled_before_the_start_has_no_start_and_no_duration_and_its_wait_grows(one: Any) -> None:
    path = start(one, JOB | {"queue": 600})
    one.run(10)
    one.act("cancel_pipeline", pipeline=one.json(path)["id"])
    ended = one.json(path)
    assert (ended["status"], ended["started_at"], ended["duration"]) == ("canceled", None, None)
    assert ended["finished_at"]
    wait = one.json(f"{path}/jobs")[0]["queued_duration"]
    one.run(100)
    assert one.json(f"{path}/jobs")[0]["queued_duration"] == wait + 100


def test_canceled_while_running_is_canceling_first(one: Any) -> None:
    path = start(one, JOB)
    one.run(10)
    one.act("cancel_pipeline", pipeline=one.json(path)["id"])
    assert one.json(path)["status"] == "canceling"
    one.run(10)
    assert one.json(path)["status"] == "canceled"
    assert one.json(path)["duration"] >= 7


def test_a_pipeline_of_skip_ci_is_skipped_without_end_or_jobs(one: Any) -> None:
    path = start(one)
    one.run(10)
    assert (one.json(path)["status"], one.json(path)["finished_at"]) == ("skipped", None)
    assert one.json(f"{path}/jobs") == []


def test_a_child_has_the_ref_of_its_parent_and_may_outlive_it(one: Any) -> None:
    child = {"jobs": [JOB | {"run": 300}]}
    path = start(one, JOB, {"name": "kids", "stage": "z", "downstream": child}, ref="develop")
    one.run(60)
    assert one.json(path)["status"] == "success"
    down = one.json(f"{path}/bridges")[0]["downstream_pipeline"]
    assert (down["status"], down["source"], down["ref"]) == ("running", "parent_pipeline", "develop")
    assert [job["name"] for job in one.json(f"{path}/jobs")] == ["unit"]
    one.run(600)
    assert one.json(f"/projects/101/pipelines/{down['id']}")["status"] == "success"


def test_a_bridge_that_depends_ends_with_its_child(one: Any) -> None:
    child = {"jobs": [JOB | {"outcome": "failed"}], "depend": True}
    path = start(one, {"name": "kids", "downstream": child})
    one.run(5)
    assert one.json(path)["status"] == "running"
    one.run(60)
    assert one.json(path)["status"] == "failed"


def test_a_pipeline_deleted_while_running_vanishes_and_never_ends(one: Any) -> None:
    path = start(one, JOB)
    one.run(10)
    one.act("delete_pipeline", pipeline=one.json(path)["id"])
    assert one.get(path)[0] == 404
    assert one.json("/projects/101/pipelines") == []
    one.run(600)
    assert one.truth() == []


def test_any_status_can_be_shown_on_demand(one: Any) -> None:
    script = [["waiting_for_callback", 5], ["quantum", 5], ["running", 20], ["success", 0]]
    number = one.act("new_pipeline", project="acme/p", script=script)["pipeline_id"]
    seen = []
    for _ in range(8):
        one.run(5)
        seen.append(one.json(f"/projects/101/pipelines/{number}")["status"])
    assert list(dict.fromkeys(seen)) == ["waiting_for_callback", "quantum", "running", "success"]
    assert one.json(f"/projects/101/pipelines/{number}")["duration"] == 20


def test_a_pipeline_of_history_can_be_retried_without_losing_its_first_execution(browse: Any) -> None:
    world = browse(history_days=3, history_pipelines=60)
    before = world.truth()
    failed = next(entry for entry in before if entry["kind"] == "pipeline" and entry["status"] == "failed")
    world.act("retry_pipeline", pipeline=failed["pipeline_id"])
    world.run(600)
    after = world.truth()
    assert all(entry in after for entry in before)
    mine = [
        entry
        for entry in after
        if entry["kind"] == "pipeline" and entry["pipeline_id"] == failed["pipeline_id"]
    ]
    assert [(entry["execution"], entry["status"]) for entry in mine] == [(1, "failed"), (2, "success")]
