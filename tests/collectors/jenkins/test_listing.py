"""The oldest builds that are not read yet are found wherever they are, in few calls."""

from __future__ import annotations

from typing import Any, cast

import pytest

from collectors.jenkins.client import JenkinsClient
from collectors.jenkins.listing import Lister, Portion
from collectors.jenkins.mapping import build
from collectors.jenkins.sweep import Job
from exporter.errors import SourceError


class Builds:
    """A Jenkins with one job: *numbers* are its builds; those in *odd* nobody can understand."""

    def __init__(self, numbers: range | list[int], odd: frozenset[int] = frozenset()) -> None:
        self.numbers = sorted(numbers, reverse=True)
        self.odd = odd
        self.deepest = 0

    def builds(self, job: str, first: int, count: int) -> list[Any]:
        found = self.numbers[first : first + count]
        self.deepest = max(self.deepest, min(first + count, len(self.numbers)))
        return [None if number in self.odd else a_build(number) for number in found]


def a_build(number: int) -> dict[str, Any]:
    return {"number": number, "building": False, "result": "SUCCESS", "timestamp": number, "duration": 1}


def oldest(jenkins: Any, after: int, guess: int | None = None) -> tuple[Portion, Lister, list[str]]:
    """The oldest builds after number *after*, who listed them, and what was told of odd ones."""
    faults: list[str] = []
    lister = Lister(cast(JenkinsClient, jenkins), lambda _: None, lambda job, _: faults.append(job.name))
    last = build(a_build(jenkins.numbers[0]), lambda _: None)
    portion = lister.oldest(Job("p", "p", None, last), last, lambda one: one.number > after, guess)
    return portion, lister, faults


@pytest.mark.parametrize(
    ("numbers", "after", "guess"),
    [
        (range(1, 100_001), 0, None),
        (range(1, 100_001), 99_300, None),
        (range(1, 100_001), 99_300, 700),
        (range(1, 100_001), 50_000, 50_000),
        (range(1, 100_001), 50_000, 700),
        (range(99_000, 100_001), 5, 99_995),
        ([*range(1, 500), *range(90_000, 90_300)], 400, 89_899),
        (range(1, 151), 0, None),
        (range(1, 151), 149, 1),
        (range(1, 91), 0, None),
    ],
)
def test_a_portion_begins_with_the_oldest_build_and_leaves_none_out(
    numbers: range | list[int], after: int, guess: int | None
) -> None:
    jenkins = Builds(numbers)
    portion, lister, _ = oldest(jenkins, after, guess)
    wanted = [number for number in numbers if number > after]
    found = [one.number for one in portion.builds]
    assert found == wanted[: len(found)]
    assert len(found) >= min(40, len(wanted))
    assert portion.position == len(wanted) - len(found)
    assert lister.calls <= 20


def test_what_is_far_back_is_not_asked_for_unless_it_is_wanted() -> None:
    jenkins = Builds(range(1, 100_001))
    oldest(jenkins, 99_300)
    assert jenkins.deepest < 2_000


def test_all_is_read_in_portions_while_builds_come_and_go() -> None:
    jenkins = Builds(range(1, 1_001))
    read: list[int] = []
    position: int | None = None
    while position != 0:
        portion, _, _ = oldest(jenkins, read[-1] if read else 0, position)
        read += [one.number for one in portion.builds]
        position = portion.position
        if len(read) < 800:
            newest = jenkins.numbers[0]
            jenkins.numbers = [
                *range(newest + 70, newest, -1),
                *jenkins.numbers[:500],
                *jenkins.numbers[530:],
            ]
    assert read == sorted(set(read))
    assert set(jenkins.numbers) <= set(read)


def test_builds_that_cannot_be_understood_hold_up_no_other() -> None:
    jenkins = Builds(range(1, 401), odd=frozenset([1, 2, *range(150, 280)]))
    read: list[int] = []
    position, told = None, []
    while position != 0:
        portion, _, faults = oldest(jenkins, read[-1] if read else 0, position)
        read += [one.number for one in portion.builds]
        position = portion.position
        told += faults
    assert read == [number for number in range(1, 401) if number not in jenkins.odd]
    assert told


def test_a_job_that_changes_with_every_call_is_a_failure_and_no_endless_poll() -> None:
    class Running(Builds):
        """Two hundred new builds between two calls."""

        def builds(self, job: str, first: int, count: int) -> list[Any]:
            newest = self.numbers[0]
            self.numbers = [*range(newest + 200, newest, -1), *self.numbers]
            return super().builds(job, first, count)

    with pytest.raises(SourceError, match="come and go faster"):
        oldest(Running(range(1, 401)), 0)
