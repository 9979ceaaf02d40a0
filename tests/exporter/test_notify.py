"""The protocol of sd_notify: what is told, to whom, and when nothing is."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

import pytest

from exporter.notify import Notifier
from tests.support.notified import Manager


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_of_start_reload_and_end(abstract: bool) -> None:
    with Manager(abstract=abstract) as manager:
        notifier = Notifier({"NOTIFY_SOCKET": manager.address})
        notifier.ready("one")
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        notifier.reloading()
        notifier.ready("two")
        notifier.stopping()
        assert manager.next() == {"READY": "1", "STATUS": "one"}
        reload = manager.next()
        assert reload.pop("RELOADING") == "1"
        assert (
            before <= int(reload.pop("MONOTONIC_USEC")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        )
        assert reload == {}
        assert manager.next() == {"READY": "1", "STATUS": "two"}
        assert manager.next() == {"STOPPING": "1"}


def test_a_reload_that_ends_after_the_stop_began_does_not_say_ready() -> None:
    with Manager() as manager:
        notifier = Notifier({"NOTIFY_SOCKET": manager.address})
        notifier.stopping()
        notifier.ready("late")
        assert manager.waiting() == [{"STOPPING": "1"}]


def test_without_a_manager_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    assert notifier.watchdog_seconds is None
    notifier.ready("up")
    notifier.stopping()
    assert caplog.records == []


def test_no_child_process_inherits_the_manager() -> None:
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    Notifier(environ)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_ours_only_if_it_says_so(variables: dict[str, str], seconds: float | None) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/x", **variables}).watchdog_seconds == seconds


def test_a_manager_that_is_gone_is_a_warning_and_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("up")
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "systemd could not be told")
    ]


def test_signs_of_life_come_only_while_alive() -> None:
    asked: list[float] = []
    twice = threading.Event()

    def alive(seconds: float) -> bool:
        asked.append(seconds)
        if len(asked) == 4:
            twice.set()
        return len(asked) in (1, 3)

    with Manager() as manager:
        notifier = Notifier({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "40000"})
        notifier.watch(alive)
        assert twice.wait(60)
        notifier.stopping()
        told = manager.waiting()
    assert told[:2] == [{"WATCHDOG": "1"}] * 2
    assert {"WATCHDOG": "1"} not in told[2:]
    assert asked[0] == 0.01
