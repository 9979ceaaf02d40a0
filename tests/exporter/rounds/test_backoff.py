"""How long to wait before a unit is polled again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.contract import Schedule
from exporter.rounds.backoff import Backoff, jittered
from exporter.runnermetrics import FetchResult

TASK, EMPTY, ERROR = FetchResult
PLAIN = Schedule(base=10, maximum=1000, discover=60)


def intervals(*results: FetchResult, schedule: Schedule = PLAIN, busy: bool = False) -> list[float]:
    backoff = Backoff(schedule)
    found = []
    for result in results:
        backoff.note(result, busy=busy)
        found.append(backoff.interval)
    return found


def test_the_first_wait_is_the_base() -> None:
    assert Backoff(PLAIN).interval == 10


@pytest.mark.parametrize("result", [EMPTY, ERROR])
def test_empty_polls_and_errors_double_the_wait_up_to_the_fifth_time(result: FetchResult) -> None:
    assert intervals(*[result] * 8) == [10, 20, 40, 80, 160, 320, 320, 320]


def test_the_maximum_caps_the_wait() -> None:
    assert intervals(*[EMPTY] * 5, schedule=Schedule(10, 50, 60)) == [10, 20, 40, 50, 50]


def test_news_brings_the_wait_back_to_the_base() -> None:
    assert intervals(EMPTY, EMPTY, TASK, EMPTY) == [10, 20, 10, 10]
    assert intervals(ERROR, ERROR, TASK, ERROR) == [10, 20, 10, 10]


def test_an_answer_without_news_ends_a_row_of_errors() -> None:
    assert intervals(ERROR, ERROR, ERROR, EMPTY) == [10, 20, 40, 10]


def test_an_error_does_not_make_an_idle_unit_busy() -> None:
    assert intervals(EMPTY, EMPTY, EMPTY, ERROR) == [10, 20, 40, 40]


def test_an_empty_poll_while_a_run_is_under_way_is_not_idleness() -> None:
    assert intervals(*[EMPTY] * 5, busy=True) == [10] * 5


def test_errors_count_even_while_a_run_is_under_way() -> None:
    assert intervals(*[ERROR] * 3, busy=True) == [10, 20, 40]


@given(
    st.lists(st.tuples(st.sampled_from(FetchResult), st.booleans())), st.floats(0.1, 600), st.floats(1, 10)
)
def test_the_wait_is_never_below_the_base_nor_above_the_maximum(
    polls: list[tuple[FetchResult, bool]], base: float, factor: float
) -> None:
    schedule = Schedule(base, base * factor, 60)
    backoff = Backoff(schedule)
    for result, busy in polls:
        backoff.note(result, busy=busy)
        assert schedule.base <= backoff.interval <= schedule.maximum
        n = max(backoff.empty, backoff.errors)
        expected = base if n <= 1 else min(base * 2 ** min(n - 1, 5), schedule.maximum)
        assert backoff.interval == expected


@given(st.floats(0, 1e6), st.integers())
def test_jitter_is_a_fifth_at_most(seconds: float, seed: int) -> None:
    found = jittered(seconds, random.Random(seed))
    assert seconds * 0.8 <= found <= seconds * 1.2


def test_jitter_spreads() -> None:
    chance = random.Random(1)
    found = [jittered(100, chance) for _ in range(1000)]
    assert min(found) < 82
    assert max(found) > 118
