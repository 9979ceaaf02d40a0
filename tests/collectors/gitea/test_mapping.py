"""What a real Gitea answered, as records."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from collectors.gitea import mapping
from collectors.gitea.waiting import Waits
from exporter.errors import BadAnswer
from exporter.model.runs import RefKind, Status

NOW = datetime(2026, 11, 22, tzinfo=UTC)
Recorded = Callable[[str], Any]


def nothing_unknown(kind: str) -> None:
    raise AssertionError(kind)


def run_of(body: Any) -> mapping.Run:
    return mapping.run(body, unknown=nothing_unknown)


def jobs_of(body: Any) -> list[mapping.Job]:
    return [mapping.job(entry, unknown=nothing_unknown) for entry in body["jobs"]]


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-21T{clock}+00:00")


def test_a_finished_run(recorded: Recorded) -> None:
    run, jobs = run_of(recorded("run_failure")), jobs_of(recorded("jobs_failure"))
    record = mapping.record(run, jobs, mapping.created_at(run, jobs, NOW), lambda *_: True)
    assert (record.run_id, record.status, record.pipeline) == (2, Status.FAILED, "ci.yml")
    assert (record.ref, record.ref_kind, record.source) == ("main", RefKind.BRANCH, "workflow_dispatch")
    assert record.created_at == at("23:08:49")
    assert record.finished_at == record.updated_at == at("23:08:56")
    assert (record.queue_seconds, record.duration_seconds) == (1.0, 6.0)
    assert (record.username, record.commit_title) == ("admin1", "Add a file")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("run_in_progress", Status.RUNNING),
        ("run_rerun_failed_queued", Status.PENDING),
        ("run_success", Status.SUCCESS),
        ("run_cancelled_before_start", Status.CANCELED),
        ("run_cancelled_while_running", Status.CANCELED),
        ("run_all_skipped", Status.SKIPPED),
    ],
)
def test_statuses_of_runs(recorded: Recorded, name: str, status: Status) -> None:
    assert run_of(recorded(name)).status is status


def test_a_run_that_waits_between_two_jobs_goes_on(recorded: Recorded) -> None:
    body = recorded("run_in_progress") | {"status": "waiting"}
    assert run_of(body).status is Status.RUNNING
    assert run_of(body | {"started_at": "1970-01-01T01:00:00+01:00"}).status is Status.CREATED


def test_statuses_of_jobs(recorded: Recorded) -> None:
    assert [job.status for job in jobs_of(recorded("jobs_queued_and_blocked"))] == [
        Status.PENDING,
        Status.CREATED,
        Status.CREATED,
        Status.CREATED,
    ]


def test_refs(recorded: Recorded) -> None:
    tagged, pushed = (
        recorded("runs_of_a_tag")["workflow_runs"][3],
        recorded("runs_of_a_tag")["workflow_runs"][0],
    )
    pull = recorded("runs_of_a_pull_request")["workflow_runs"][0]
    assert [(run.ref_kind, run.ref) for run in map(run_of, (tagged, pushed, pull))] == [
        (RefKind.TAG, "v1.0"),
        (RefKind.BRANCH, "feature/a@b"),
        (RefKind.CHANGE_REQUEST, "refs/pull/1/head"),
    ]
    assert mapping.pull_ref(recorded("pulls")[0]) == "refs/pull/1/head"


def test_copies_in_a_partial_rerun_are_told_from_what_ran(recorded: Recorded) -> None:
    jobs = jobs_of(recorded("jobs_rerun_failed_done"))
    assert [(job.name, job.is_copy) for job in jobs] == [
        ("build", True),
        ("test (1)", False),
        ("test (2)", True),
        ("publish", False),
    ]


def test_a_rerun_in_place_has_no_queue_time() -> None:
    run = mapping.Run(
        1, 0, False, Status.SUCCESS, "ci.yml", "main", RefKind.BRANCH, "push", NOW, NOW, "", "", "", "", ""
    )
    before = NOW - timedelta(hours=1)
    job = mapping.Job(1, 1, 2, "a", Status.SUCCESS, frozenset(), 1, before, NOW, NOW, "", "")
    assert mapping.record(run, [job], before, lambda *_: True).queue_seconds is None


def test_an_unknown_status_is_told_and_means_unknown(recorded: Recorded) -> None:
    told: list[str] = []
    run = mapping.run(recorded("run_success") | {"conclusion": "quantum"}, unknown=told.append)
    assert (run.status, told) == (Status.UNKNOWN, ["status"])


@pytest.mark.parametrize("field", ["id", "path", "status", "run_attempt"])
def test_what_lacks_the_needful_is_a_bad_answer(recorded: Recorded, field: str) -> None:
    body = recorded("run_success")
    del body[field]
    with pytest.raises(BadAnswer):
        run_of(body)


def test_the_zeros_of_go_and_unix_are_no_times() -> None:
    assert mapping.moment("0001-01-01T00:00:00Z") is None
    assert mapping.moment("1969-12-31T19:00:00-05:00") is None
    assert mapping.moment("2026-11-21T23:08:37+01:00") == datetime(
        2026, 11, 21, 23, 8, 37, tzinfo=timezone(timedelta(hours=1))
    )


def test_a_job_that_needs_another_waits_from_the_end_of_that(recorded: Recorded) -> None:
    waits = Waits()
    waits.note("1", jobs_of(recorded("jobs_queued_and_blocked")))
    jobs = jobs_of(recorded("jobs_success_and_skipped"))
    assert [waits.seconds("1", job, jobs) for job in jobs] == [3.0, 1.0, 0.0, None]


def test_a_wait_that_nobody_can_tell_is_unknown(recorded: Recorded) -> None:
    jobs = jobs_of(recorded("jobs_success_and_skipped"))
    assert [Waits().seconds("1", job, jobs) for job in jobs] == [3.0, None, None, None]


def test_runners(recorded: Recorded) -> None:
    (runner,) = [mapping.runner(entry, "group") for entry in recorded("org_runners")["runners"]]
    assert (runner.runner_id, runner.description, runner.status) == (2, "org-1", "online")
    assert (runner.paused, runner.tags) == (False, ("ubuntu-latest",))
