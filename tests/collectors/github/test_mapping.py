"""GitHub's words, times and numbers as records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from collectors.github import mapping
from exporter.errors import BadAnswer
from exporter.model.runners import RunnerType
from exporter.model.runs import RefKind, Status

NOW = "2026-03-02T08:00:00Z"


def unknown(_kind: str) -> None:
    raise AssertionError


def job(**given: Any) -> dict[str, Any]:
    return {
        "id": 5,
        "run_id": 4,
        "run_attempt": 1,
        "name": "unit",
        "status": "completed",
        "conclusion": "success",
        "created_at": "2026-03-02T08:00:00Z",
        "started_at": "2026-03-02T08:00:10Z",
        "completed_at": "2026-03-02T08:01:00Z",
        "runner_id": 1,
        "runner_group_name": "GitHub Actions",
    } | given


def run(**given: Any) -> dict[str, Any]:
    return {
        "id": 4,
        "name": "ci",
        "run_attempt": 1,
        "event": "push",
        "status": "completed",
        "conclusion": "success",
        "head_branch": "main",
        "created_at": NOW,
        "updated_at": NOW,
        "repository": {"id": 1, "full_name": "acme/p"},
        "head_repository": {"id": 1, "full_name": "acme/p"},
        "pull_requests": [],
    } | given


@pytest.mark.parametrize(
    ("status", "conclusion", "ours"),
    [
        ("queued", None, Status.PENDING),
        ("requested", None, Status.PENDING),
        ("waiting", None, Status.PENDING),
        ("pending", None, Status.PENDING),
        ("in_progress", None, Status.RUNNING),
        ("completed", "success", Status.SUCCESS),
        ("completed", "neutral", Status.SUCCESS),
        ("completed", "failure", Status.FAILED),
        ("completed", "timed_out", Status.FAILED),
        ("completed", "startup_failure", Status.FAILED),
        ("completed", "stale", Status.FAILED),
        ("completed", "cancelled", Status.CANCELED),
        ("completed", "skipped", Status.SKIPPED),
        ("completed", "action_required", Status.MANUAL),
    ],
)
def test_statuses(status: str, conclusion: str | None, ours: Status) -> None:
    assert mapping.entry(run(status=status, conclusion=conclusion), unknown).status is ours


@pytest.mark.parametrize(("status", "conclusion"), [("completed", "odd"), ("odd", None), ("completed", None)])
def test_a_new_word_is_unknown_and_counted(status: str, conclusion: str | None) -> None:
    kinds: list[str] = []
    assert mapping.entry(run(status=status, conclusion=conclusion), kinds.append).status is Status.UNKNOWN
    assert kinds == ["status"]


def test_an_event_of_which_nobody_heard_is_unknown() -> None:
    kinds: list[str] = []
    assert mapping.entry(run(event="odd"), kinds.append).source == "unknown"
    assert kinds == ["source"]


def test_a_queued_jobs_start_is_none_though_github_shows_one() -> None:
    record = mapping.job(
        job(status="queued", conclusion=None, completed_at=None, runner_id=0), unknown
    ).record
    assert (record.started_at, record.queue_seconds, record.runner_type) == (None, None, None)


@pytest.mark.parametrize("conclusion", ["skipped", "cancelled"])
def test_a_job_that_no_runner_took_has_no_times_but_its_end(conclusion: str) -> None:
    record = mapping.job(job(conclusion=conclusion, runner_id=None), unknown).record
    assert (record.started_at, record.queue_seconds, record.duration_seconds) == (None, None, None)
    assert record.finished_at == datetime(2026, 3, 2, 8, 1, tzinfo=UTC)


def test_times_of_a_job() -> None:
    record = mapping.job(job(), unknown).record
    assert (record.queue_seconds, record.duration_seconds) == (10, 50)
    assert mapping.job(job(started_at="2026-03-02T07:59:59Z"), unknown).record.queue_seconds == 0


def test_an_old_server_tells_neither_runner_nor_creation() -> None:
    given = job()
    del given["runner_id"], given["created_at"], given["runner_group_name"]
    record = mapping.job(given, unknown).record
    assert record.created_at == record.started_at
    assert (record.queue_seconds, record.duration_seconds) == (None, 50)


@pytest.mark.parametrize(
    ("group", "kind"),
    [
        ("GitHub Actions", RunnerType.INSTANCE),
        ("Default", RunnerType.GROUP),
        ("", RunnerType.UNKNOWN),
        (None, RunnerType.UNKNOWN),
    ],
)
def test_whose_runner_took_a_job(group: str | None, kind: RunnerType) -> None:
    assert mapping.job(job(runner_group_name=group), unknown).record.runner_type is kind


@pytest.mark.parametrize(
    ("conclusion", "reason"),
    [("failure", "unknown"), ("timed_out", "timed_out"), ("success", ""), ("cancelled", "")],
)
def test_why_a_job_failed(conclusion: str, reason: str) -> None:
    assert mapping.job(job(conclusion=conclusion), unknown).record.failure_reason == reason


def test_copies_of_jobs_that_a_rerun_carries_over_are_left_out() -> None:
    again = "2026-03-02T09:00:00Z"
    found = mapping.jobs(
        [
            job(id=1, name="a"),
            job(id=2, name="b", conclusion="failure"),
            job(id=3, name="a", run_attempt=2, created_at=again),
            job(id=4, name="a", run_attempt=2),  # the same without a telling creation
            job(id=5, name="b", run_attempt=2, created_at=again, started_at=again, completed_at=again),
        ],
        unknown,
    )
    assert [one.record.job_id for one in found] == [1, 2, 5]


def test_jobs_of_one_name_in_one_attempt_are_two() -> None:
    found = mapping.jobs([job(id=1), job(id=2), job(id=3, run_attempt=2, created_at=NOW)], unknown)
    assert [one.record.job_id for one in found] == [1, 2]


def test_an_attempt_ends_with_its_last_job_whatever_happens_to_the_run_later() -> None:
    entry = mapping.entry(run(updated_at="2026-03-09T08:00:00Z", run_started_at=NOW), unknown)
    jobs = mapping.jobs([job()], unknown)
    record = mapping.run(entry, RefKind.BRANCH, jobs, selected=True)
    assert record.finished_at == datetime(2026, 3, 2, 8, 1, tzinfo=UTC)
    assert (record.duration_seconds, record.queue_seconds, record.attempt) == (60, 10, 1)


def test_whose_branch_it_is() -> None:
    assert mapping.entry(run(), unknown).head == "main"
    fork = {"id": 2, "full_name": "somebody/p"}
    assert mapping.entry(run(head_repository=fork), unknown).head == "somebody:main"
    assert mapping.entry(run(head_repository=None, head_branch=None), unknown).head == ""


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {},
        run(id="4"),
        run(repository=None),
        run(event=None),
        run(created_at="yesterday"),
        run(pull_requests=["7"]),
        run(run_attempt="2"),
    ],
)
def test_another_shape_is_a_bad_answer(broken: Any) -> None:
    with pytest.raises(BadAnswer):
        mapping.entry(broken, unknown)


@pytest.mark.parametrize("broken", [None, {}, job(id="5"), job(name=None), job(run_id=None)])
def test_a_job_of_another_shape_is_a_bad_answer(broken: Any) -> None:
    with pytest.raises(BadAnswer):
        mapping.job(broken, lambda _kind: None)
