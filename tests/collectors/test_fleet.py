"""Which jobs count where in the queue of a fleet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from collectors import _fleet
from collectors._fleet import Fleet, Runner, WaitingJob
from exporter import ci_families

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
MADE = {"runner_id": 1, "status": "online", "paused": False, "description": "", "tags": ("a", "b")}


def runner(runner_type: str, **given: Any) -> Runner:
    return Runner(**{"runner_type": runner_type, **MADE, **given})


def job(*tags: str, project: str = "7", path: str = "g/s/p", number: int = 1) -> WaitingJob:
    return WaitingJob(number, frozenset(tags), project, path, NOW - timedelta(seconds=number))


def queue(runners: list[Runner], *jobs: WaitingJob, at_most: int = 9) -> dict[tuple[str | None, ...], Any]:
    found = _fleet.samples("x", Fleet(runners, jobs), [], max_tag_sets=at_most)
    return {sample.labels[1:]: sample.value for sample in found[ci_families.QUEUE_JOBS]}


@pytest.mark.parametrize(
    ("taker", "expected"),
    [
        (runner("instance"), "instance"),
        (runner("instance", tags=("a",)), "none"),
        (runner("instance", paused=True), "none"),
        (runner("instance", status="offline"), "none"),
        (runner("instance", tags=None), "instance"),
        (runner("group", groups=frozenset({"g"})), "group"),
        (runner("group", groups=frozenset({"g/s"})), "group"),
        (runner("group", groups=frozenset({"g/s/p", "g/sp", "s"})), "none"),
        (runner("group"), "group"),
        (runner("project", projects=frozenset({"7"})), "project"),
        (runner("project", projects=frozenset({"8"})), "none"),
        (runner("project"), "project"),
    ],
)
def test_who_may_take_a_job_with_two_tags(taker: Runner, expected: str) -> None:
    assert queue([taker], job("a", "b")) == {(expected, "a,b"): 1}


@pytest.mark.parametrize(("run_untagged", "expected"), [(True, "instance"), (False, "none")])
def test_a_job_without_tags_needs_a_runner_that_runs_such(run_untagged: bool, expected: str) -> None:
    assert queue([runner("instance", run_untagged=run_untagged)], job()) == {(expected, ""): 1}


def test_the_narrowest_type_gets_the_job() -> None:
    takers = [runner("instance"), runner("group", groups=frozenset({"g"}))]
    assert queue(takers, job("a")) == {("group", "a"): 1}
    assert queue(takers, job("a", path="h/p")) == {("instance", "a"): 1}


def test_the_rest_of_the_tag_sets_is_one() -> None:
    jobs = [job(tag, number=number) for number, tag in enumerate("abbccc")]
    assert queue([], *jobs, at_most=1) == {("none", "c"): 3, ("none", "other"): 3}


def test_labels_of_any_length_are_cut() -> None:
    tags = [f"tag-{number:05}" for number in range(5_000)]
    one = runner("instance", description="d" * 10_000, tags=(*tags, "zzz"))
    found = _fleet.info("x", one)
    assert max(map(len, found.labels)) == 1_000
    # Sets that only differ behind the cut are one series, not two with the same labels.
    ((labels, count),) = queue([one], job(*tags), job(*tags, "zzz", number=2)).items()
    assert (len(labels[1] or ""), count) == (1_000, 2)


def test_thousands_of_tag_sets_are_matched_in_a_moment() -> None:
    runners = [runner("instance", runner_id=n, tags=(f"t{n % 5_000}",)) for n in range(10_000)]
    runners.append(runner("group", tags=None))
    jobs = [job(f"t{number}", number=number) for number in range(5_001)]
    assert queue(runners, *jobs, at_most=0) == {("group", "other"): 5_001}
    assert queue(runners[:-1], *jobs, at_most=0) == {("instance", "other"): 5_000, ("none", "other"): 1}


def test_ten_thousand_runners_and_jobs_are_matched_in_a_moment() -> None:
    runners = [
        runner("project", runner_id=number, projects=frozenset({str(number)})) for number in range(10_000)
    ]
    jobs = [job("a", project=str(number), number=number) for number in range(10_000)]
    assert queue(runners, *jobs) == {("project", "a"): 10_000}
