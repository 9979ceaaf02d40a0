"""The example consumer keeps each event once: repetitions, second producers and kill -9 included."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.exporter.sinks.kafka.conftest import TOPIC, Rig, event
from tests.support.deployment import ROOT
from tests.support.kafka import Cluster
from tests.support.process import PATIENCE, wait_until

pytestmark = pytest.mark.no_cover  # long, through code that smaller tests cover


class Example:
    """The program as an operator runs it, on one database."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.path = folder / "events.db"
        self._arguments = [cluster.servers, TOPIC, str(self.path)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, str(ROOT / "deploy/examples/read_events.py"), *self._arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(PATIENCE)

    def kept(self) -> list[tuple[Any, ...]]:
        """``(source, id, type, value)`` of each row."""
        if not self.path.exists():
            return []
        database = sqlite3.connect(self.path, timeout=PATIENCE)
        try:
            return database.execute("SELECT source, id, type, value FROM events ORDER BY id").fetchall()
        except sqlite3.OperationalError:  # it has no table yet
            return []
        finally:
            database.close()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def example(tmp_path: Path, cluster: Cluster) -> Iterator[Example]:
    example = Example(tmp_path, cluster)
    yield example
    example.end(signal.SIGKILL)


def produce(folder: Path, cluster: Cluster, *serials: int, **settings: Any) -> None:
    """Tell events as one more producer, with a store of its own."""
    folder.mkdir()
    rig = Rig(folder, cluster)
    try:
        rig.tell(*(event(serial) for serial in serials))
        rig.deliver(rig.sink(**settings))
    finally:
        rig.store.close()


def expected(*serials: int) -> list[tuple[Any, ...]]:
    events = sorted((event(serial) for serial in serials), key=lambda one: one.id)
    return [(one.source, one.id, one.type, one.data) for one in events]


def test_each_event_is_kept_once_whoever_repeats_it_and_whoever_is_killed(
    tmp_path: Path, cluster: Cluster, example: Example
) -> None:
    cluster.topic(TOPIC)
    produce(tmp_path / "first", cluster, *range(50))
    example.start()
    wait_until(lambda: len(example.kept()) == 50, "what was told is kept")
    example.end(signal.SIGKILL)
    produce(tmp_path / "second", cluster, *range(60))
    example.start()
    wait_until(lambda: len(example.kept()) == 60, "what is new is kept")
    assert example.kept() == expected(*range(60))
    assert example.end(signal.SIGTERM) == 0


def test_events_that_are_whole_cloudevents_are_told_apart_too(
    tmp_path: Path, cluster: Cluster, example: Example
) -> None:
    cluster.topic(TOPIC)
    produce(tmp_path / "first", cluster, 1, 2, format="structured")
    produce(tmp_path / "second", cluster, 2, 3, format="structured")
    example.start()
    wait_until(lambda: len(example.kept()) == 3, "the three of them are kept")
    assert [(one[0], one[1]) for one in example.kept()] == [(one[0], one[1]) for one in expected(1, 2, 3)]
    assert example.end(signal.SIGTERM) == 0
