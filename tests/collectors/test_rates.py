"""The rate limiter, against the real clock in small doses."""

from __future__ import annotations

import threading
import time

import pytest

from collectors._rates import RateLimiter
from exporter.errors import SourceError, Stopped


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
