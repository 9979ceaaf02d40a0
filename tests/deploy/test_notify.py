"""What the running program tells systemd: ready, alive, reloading, stopping; and silence when it hangs."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.notified import Manager
from tests.support.process import ExporterProcess, wait_until

WATCHDOG = "WATCHDOG"
CONFIG: dict[str, Any] = {"store": {"url": "sqlite://"}, "collectors": {"runner": {}}}

# Python imports this module at its start, in the real program as well. SIGUSR1 lets the loop of each web
# server hang for good, SIGUSR2 the scheduler; both say so once they do.
HANG = """
import gc, signal, sys, threading

def hang():
    print("now it hangs", file=sys.stderr, flush=True)
    threading.Event().wait()

def find(name):
    return next(one for one in gc.get_objects() if f"{type(one).__module__}.{type(one).__name__}" == name)

def web(number, frame):
    find("exporter.web.server.WebServer")._loop.call_soon_threadsafe(hang)

def scheduler(number, frame):
    find("exporter.rounds.scheduler.Engine")._at("hang", 0, hang)

signal.signal(signal.SIGUSR1, web)
signal.signal(signal.SIGUSR2, scheduler)
"""
Start = Callable[..., tuple[Manager, ExporterProcess]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts the program as systemd would, with a watchdog of so many seconds."""
    with ExitStack() as stack:

        def start(seconds: float = 60, **metrics: Any) -> tuple[Manager, ExporterProcess]:
            manager = stack.enter_context(Manager())
            (tmp_path / "hang").mkdir()
            (tmp_path / "hang" / "sitecustomize.py").write_text(HANG)
            config = CONFIG | {"store": {"url": f"sqlite:///{tmp_path}/store.db"}, "metrics": metrics}
            exporter = stack.enter_context(ExporterProcess(tmp_path, config, import_from=[tmp_path / "hang"]))
            told = [f"NOTIFY_SOCKET={manager.address}", f"WATCHDOG_USEC={int(seconds * 1_000_000)}"]
            return manager, exporter.start(launcher=["/usr/bin/env", *told])

        yield start


def test_ready_is_told_once_it_listens(start: Start) -> None:
    manager, exporter = start()
    told = manager.next()
    assert told["READY"] == "1"
    assert told["STATUS"] == f"runner; listening: {exporter.url} (metrics, health, admin, api)"
    with socket.create_connection(("127.0.0.1", exporter.port), timeout=10):
        pass
    assert exporter.answers("/-/healthy")


def test_a_reload_is_told_from_its_begin_to_its_end(start: Start) -> None:
    manager, exporter = start()
    manager.next(but=WATCHDOG)
    exporter.signal(signal.SIGHUP)
    reload = manager.next(but=WATCHDOG)
    assert reload["RELOADING"] == "1"
    assert int(reload["MONOTONIC_USEC"]) > 0
    assert manager.next(but=WATCHDOG)["READY"] == "1"

    exporter.config_path.write_text("nonsense: true")
    assert exporter.session.post(f"{exporter.url}/-/reload").status_code == 500
    assert manager.next(but=WATCHDOG)["RELOADING"] == "1"
    assert manager.next(but=WATCHDOG)["READY"] == "1"


def test_stopping_is_told_at_sigterm(start: Start) -> None:
    manager, exporter = start(0.2)
    manager.next(but=WATCHDOG)
    assert manager.next() == {WATCHDOG: "1"}
    assert exporter.terminate(60) == 0
    # A sign of life may have been on its way.
    assert [one for one in manager.waiting() if WATCHDOG not in one] == [{"STOPPING": "1"}]
    # A busy machine may have been late before that, and rightly said so.
    assert "hangs" not in exporter.log_path.read_text().split('"message": "stopping"')[1]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_there_is_no_sign_of_life_once_a_loop_hangs(start: Start, number: signal.Signals) -> None:
    manager, exporter = start(0.4)
    manager.next(but=WATCHDOG)
    for _ in range(3):
        assert manager.next() == {WATCHDOG: "1"}

    def said(what: str) -> int:
        return exporter.log_path.read_text().count(what)

    exporter.signal(number)
    wait_until(lambda: said("now it hangs") > 0, "the loop hangs")
    # A sign of life may have been on its way: only what follows the first complaint counts.
    before = said("no sign of life")
    wait_until(lambda: said("no sign of life") > before, "the watchdog complains")
    manager.waiting()
    wait_until(lambda: said("no sign of life") > before + 3, "it goes on complaining")
    assert manager.waiting() == []


def test_without_a_web_server_the_scheduler_alone_is_watched(start: Start) -> None:
    manager, _ = start(0.2, enabled=False)
    assert manager.next()["STATUS"] == "runner; listening: nowhere (metrics.enabled is false)"
    assert manager.next() == {WATCHDOG: "1"}
