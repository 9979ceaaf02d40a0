"""The rate limiter, against the real clock in small doses."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from collectors._connection import Connection, api_client
from collectors._rates import RateLimiter, shared_pace
from exporter.errors import SourceError, Stopped
from tests.support.fakes import World
from tests.support.receivers import Services


def test_never_more_than_the_rate_beyond_the_burst_for_all_threads_together() -> None:
    limiter = RateLimiter(200, threading.Event())
    times: list[float] = []

    def call() -> None:
        for _ in range(30):
            limiter.wait()
            times.append(time.monotonic())

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.sort()
    # 200 a second, and a burst of 0.2 s: over any span, calls are at most span * 200 + 40 (and the first).
    worst = max(
        (later - earlier + 1) - (times[later] - times[earlier]) * 200
        for earlier in range(len(times))
        for later in range(earlier, len(times))
    )
    # A thread may be held up between its slot and the clock: one call of each then looks later than it was.
    assert worst <= 41 + 1 + len(threads)
    assert times[-1] - times[0] >= (120 - 42) / 200


def test_idle_time_is_not_saved_up() -> None:
    limiter = RateLimiter(10, threading.Event(), burst_seconds=0)
    started = time.monotonic()
    limiter.wait()
    limiter.wait()
    assert time.monotonic() - started >= 0.09


def test_a_pause_holds_for_threads_that_wait_already() -> None:
    limiter = RateLimiter(20, threading.Event(), burst_seconds=0)
    limiter.wait()
    ended: list[float] = []
    thread = threading.Thread(target=lambda: (limiter.wait(), ended.append(time.monotonic())))
    thread.start()
    until = time.monotonic() + 0.3
    limiter.pause(0.3)
    thread.join()
    assert ended[0] >= until


def test_a_long_silence_ties_up_no_thread() -> None:
    limiter = RateLimiter(100, threading.Event())
    limiter.pause(3_600)
    started = time.monotonic()
    with pytest.raises(SourceError) as caught:
        limiter.wait()
    assert time.monotonic() - started < 30
    assert caught.value.permanent
    assert 3_590 < (caught.value.retry_after or 0) <= 3_600


def test_no_header_silences_it_for_more_than_a_day() -> None:
    limiter = RateLimiter(100, threading.Event())
    limiter.pause(1e300)
    with pytest.raises(SourceError) as caught:
        limiter.wait()
    assert (caught.value.retry_after or 0) <= 86_400


def test_stopping_ends_a_wait_at_once() -> None:
    stopping = threading.Event()
    limiter = RateLimiter(0.01, stopping, burst_seconds=0)
    limiter.wait()
    threading.Timer(0.05, stopping.set).start()
    started = time.monotonic()
    with pytest.raises(Stopped):
        limiter.wait()
    assert time.monotonic() - started < 30


# -- shared ----------------------------------------------------------------------------------------


def test_those_of_one_host_and_number_share_their_slots_and_no_others() -> None:
    program = threading.Event()
    pace = shared_pace("git.example", 0.5, program)
    assert shared_pace("git.example", 0.5, program) is pace
    for other in (
        shared_pace("git.example", 2, program),
        shared_pace("ci.example", 0.5, program),
        shared_pace("git.example", 0.5, threading.Event()),
    ):
        assert other is not pace
    first = pace.take()
    assert shared_pace("git.example", 0.5, program).take() - first == pytest.approx(2)


def test_a_silence_of_one_takes_no_slot_from_the_other() -> None:
    program = threading.Event()
    one, other = (RateLimiter(100, program, pace=shared_pace("h", 100, program)) for _ in range(2))
    one.pause(3_600)
    with pytest.raises(SourceError):
        one.wait()
    for _ in range(3):
        other.wait()


def test_collectors_of_one_host_share_what_is_set_for_them_and_nothing_by_default(tmp_path: Path) -> None:
    world = World()

    def client(**settings: Any) -> Any:
        config = Connection(url=f"http://{services.address}", **settings)
        return api_client(config, world.context("c", ()), "c")

    with Services(tmp_path) as services:
        clients = [client(operations_per_second=20, token=token) for token in ("a", "b")]
        began = time.monotonic()
        for _ in range(5):
            for one in clients:
                one.get("projects", "projects")
        # A fifth of a second may be made up for, which is four calls, and the first waits for none.
        assert time.monotonic() - began >= (10 - 5) / 20
        assert len(services.requests) == 10
        clients += [client(operations_per_second=10), client(), client()]
        assert len({one._limiter._pace for one in clients}) == 4
        for one in clients:
            one.close()
