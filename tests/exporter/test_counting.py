"""When a finished run or job counts, and what it adds."""

from __future__ import annotations

from typing import Any

import pytest

from exporter import ci_families
from exporter.counting import (
    Counted,
    executions,
    job_increments,
    new_execution,
    retry_increment,
    run_increments,
)
from exporter.model.runs import FINISHED, UNFINISHED, Execution, Status


def stamp(make: Any, seconds: int) -> int:
    return int(make.at(seconds).timestamp())


@pytest.mark.parametrize("status", UNFINISHED)
def test_what_is_not_finished_is_no_execution(make: Any, status: Status) -> None:
    assert new_execution(make.run(status=status), (), make.START) is None
    assert new_execution(make.job(status=status), (), make.START) is None


@pytest.mark.parametrize("status", FINISHED)
def test_what_finished_is_an_execution_told_by_its_second(make: Any, status: Status) -> None:
    expected = Counted(stamp(make, 60), counts=True)
    assert new_execution(make.run(status=status, end=60.9), (), make.START) == expected
    assert new_execution(make.job(status=status, end=60.9), (), make.START) == expected


def test_a_recorded_execution_is_not_new(make: Any) -> None:
    assert new_execution(make.run(end=60), {stamp(make, 60)}, make.START) is None


@pytest.mark.parametrize("others", [{0}, {50}, {90}, {50, 90}])
def test_another_one_is_new_before_and_after_recorded_ones(make: Any, others: set[int]) -> None:
    stamps = {stamp(make, second) if second else 0 for second in others}
    assert new_execution(make.run(end=60), stamps, make.START) == Counted(stamp(make, 60), True)


def test_attempts_that_the_source_counts_tell_executions_whatever_their_times(make: Any) -> None:
    second = make.run(end=60, attempt=2)
    assert new_execution(second, {1}, make.START) == Counted(2, True)
    assert new_execution(make.run(end=75, attempt=2), {1, 2}, make.START) is None
    assert new_execution(second, {1, 3}, make.at(61)) == Counted(2, False)


def test_one_that_never_ran_needs_no_finishing_time(make: Any) -> None:
    skipped = make.run(status=Status.SKIPPED, end=None)
    assert new_execution(skipped, (), make.START) == Counted(0, True)
    assert new_execution(skipped, {0}, make.START) is None
    assert new_execution(skipped, {stamp(make, 60)}, make.START) == Counted(0, True)


def test_one_that_ran_but_lacks_its_finishing_time_may_be_a_recorded_one(make: Any) -> None:
    unclear = make.run(finished_at=None, started_at=make.at(1))
    assert new_execution(unclear, (), make.START) == Counted(0, True)
    assert new_execution(unclear, {stamp(make, 60)}, make.START) is None


def test_a_list_entry_is_no_execution(make: Any) -> None:
    assert new_execution(make.run(complete=False), (), make.START) is None


def test_history_is_recorded_and_not_counted(make: Any) -> None:
    assert new_execution(make.run(end=59), (), make.at(60)) == Counted(stamp(make, 59), False)
    assert new_execution(make.run(end=60), (), make.at(60)) == Counted(stamp(make, 60), True)
    assert new_execution(make.run(status=Status.SKIPPED, end=None), (), make.at(1)) == Counted(0, False)


def test_a_run_adds_its_status_duration_and_queue_time(make: Any) -> None:
    labels = ("", "branch", "push")
    assert run_increments(make.run()) == [
        (ci_families.RUNS_TOTAL, (*labels, "success"), 1.0),
        (ci_families.RUN_DURATION, labels, 30.0),
        (ci_families.RUN_QUEUE, labels, 1.0),
    ]


def test_what_is_unknown_or_never_ran_is_not_observed(make: Any) -> None:
    assert len(run_increments(make.run(duration_seconds=None, queue_seconds=None))) == 1
    assert len(run_increments(make.run(status=Status.SKIPPED, duration_seconds=0.0, queue_seconds=None))) == 1
    assert len(job_increments(make.job(duration_seconds=None, queue_seconds=None))) == 1


def test_a_job_adds_its_status_and_reason_duration_and_queue_time(make: Any) -> None:
    job = make.job(status=Status.FAILED, failure_reason="script_failure")
    assert job_increments(job) == [
        (ci_families.JOB_RUNS, ("test", "unit", "failed", "script_failure"), 1.0),
        (ci_families.JOB_DURATION, ("test", "unit"), 5.0),
        (ci_families.JOB_QUEUE, ("test", "unit"), 2.0),
    ]
    assert retry_increment(job) == (ci_families.JOB_RETRIES, ("test", "unit"), 1.0)


def test_a_run_that_goes_on_again_shows_the_execution_before(make: Any) -> None:
    earlier = Execution(Status.FAILED, make.at(60), 12.0)
    running = make.run(status=Status.RUNNING, updated_at=make.at(90), earlier=earlier)
    before, now = executions(running)
    assert (before.status, before.finished_at, before.duration_seconds) == (Status.FAILED, make.at(60), 12.0)
    assert new_execution(before, set(), make.START) == Counted(stamp(make, 60), True)
    assert new_execution(before, {stamp(make, 60)}, make.START) is None
    assert new_execution(now, set(), make.START) is None
    assert executions(make.run()) == [make.run()]


def test_an_execution_made_out_from_other_evidence_is_one_that_was_seen_within_its_span(make: Any) -> None:
    inferred = make.run(status=Status.FAILED, end=60, ended_by=make.at(75))
    assert new_execution(inferred, set(), make.START) == Counted(stamp(make, 60), True)
    for seen in (60, 63, 75):
        assert new_execution(inferred, {stamp(make, seen)}, make.START) is None
    assert new_execution(inferred, {stamp(make, 59), stamp(make, 76)}, make.START) is not None


def test_an_execution_that_is_told_late_is_one_that_was_made_out_within_its_span(make: Any) -> None:
    late = make.run(status=Status.FAILED, end=63, ended_by=make.at(60))
    assert new_execution(late, set(), make.START) == Counted(stamp(make, 63), True)
    for seen in (60, 61, 63):
        assert new_execution(late, {stamp(make, seen)}, make.START) is None
    assert new_execution(late, {stamp(make, 59), stamp(make, 64)}, make.START) is not None
