"""Two producers of the same events, each with a store of its own, a Redis between them, and one topic."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.config.schema import Settings
from exporter.sinks.base import Sink, SinkContext
from exporter.sinks.building import build_sinks
from tests.exporter.sinks.kafka.conftest import TOPIC, Rig
from tests.support.engine import wait_until
from tests.support.kafka import Cluster, ce_id
from tests.support.redis import RedisServer

PRODUCE = """
import json, sys, threading
from exporter.clock import SystemClock
from exporter.config.schema import Settings
from exporter.selfmetrics import SelfMetrics
from exporter.sinks.base import SinkContext
from exporter.sinks.building import build_sinks
from exporter.store.sql import SqlStore

metrics = SelfMetrics("0")
context = SinkContext(SqlStore(sys.argv[1]), SystemClock(), metrics.sinks, metrics.work)
(sink,) = build_sinks(Settings.model_validate(json.loads(sys.argv[2])), context, frozenset({"forge"}))
sink.run(threading.Event())
"""


class Producers:
    """Makes producers that know of each other by Redis only."""

    def __init__(self, folder: Path, cluster: Cluster, redis: RedisServer) -> None:
        self.redis = redis
        self._folder = folder
        self._cluster = cluster

    def new(self, name: str) -> Rig:
        """The producer of that name, with the store that it has."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        return Rig(folder, self._cluster)

    @property
    def settings(self) -> dict[str, Any]:
        kafka = {"bootstrap_servers": self._cluster.servers, "topic": TOPIC}
        return {"sinks": {"kafka": {**kafka, "redis": {"address": self.redis.address}}}}

    def sink(self, rig: Rig) -> Sink:
        """The sink that the settings ask for."""
        context = SinkContext(rig.store, SystemClock(), rig.metrics.sinks, rig.metrics.work)
        (sink,) = build_sinks(Settings.model_validate(self.settings), context, frozenset({"forge"}))
        return sink

    def process(self, rig: Rig) -> subprocess.Popen[bytes]:
        """A process of its own that delivers from the store of *rig*."""
        return subprocess.Popen([sys.executable, "-c", PRODUCE, rig.url, json.dumps(self.settings)])

    def claims(self) -> int:
        """How many events are claimed."""
        with self.redis.client() as client:
            return int(client.dbsize())


@pytest.fixture
def producers(tmp_path: Path, cluster: Cluster) -> Iterator[Producers]:
    redis = RedisServer(tmp_path)
    redis.start()
    yield Producers(tmp_path, cluster, redis)
    redis.stop()


def test_each_event_is_told_once_by_whoever_comes_first(producers: Producers, events: Any) -> None:
    one, two = producers.new("one"), producers.new("two")
    sinks = [producers.sink(one), producers.sink(two)]
    with ExitStack() as running:
        for rig, sink in zip((one, two), sinks, strict=True):
            running.enter_context(rig.running(sink))
        for first in range(0, 600, 60):
            one.tell(*events.some(60, keys=5, first=first))
            two.tell(*reversed(events.some(60, keys=5, first=first)))
        for rig in (one, two):
            rig.until_delivered()
    assert {ce_id(message) for message in one.messages(600)} == {f"host/{serial}" for serial in range(600)}
    told = [rig.deliveries("success") for rig in (one, two)]
    assert sum(told) == 600
    assert [rig.deliveries("duplicate") for rig in (one, two)] == [600 - number for number in told]
    for rig, sink in zip((one, two), sinks, strict=True):
        sink.close()
        rig.store.close()


def test_what_was_claimed_before_a_crash_is_told_after_it_by_the_same_producer(
    producers: Producers, events: Any, cluster: Cluster
) -> None:
    cluster.topic(TOPIC)
    cluster.stop()
    one, two = producers.new("one"), producers.new("two")
    one.tell(*events.some(20))
    process = producers.process(one)
    try:
        wait_until(lambda: producers.claims() == 20, "all is claimed")
    finally:
        process.kill()
        process.wait()
    cluster.start()
    two.tell(*events.some(25))
    second = producers.sink(two)
    two.deliver(second)
    assert (two.deliveries("duplicate"), two.deliveries("success")) == (20, 5)
    again = producers.new("one")
    first = producers.sink(again)
    again.deliver(first)
    assert again.deliveries("success") == 20
    assert len(again.messages(25)) == 25
    for rig, sink in ((one, None), (two, second), (again, first)):
        if sink:
            sink.close()
        rig.store.close()


def test_without_redis_both_tell_all_and_nothing_is_lost(producers: Producers, events: Any) -> None:
    producers.redis.stop()
    rigs = [producers.new(name) for name in ("one", "two")]
    for rig in rigs:
        rig.tell(*events.some(50))
        sink = producers.sink(rig)
        rig.deliver(sink)
        assert rig.value("ci_exporter_claims_total", result="failed_open") == 50
        sink.close()
        rig.store.close()
    with producers.new("one").cluster.reader(TOPIC) as reader:
        assert len(reader.until(lambda messages: len(messages) >= 100)) == 100


def test_a_missing_package_is_said_with_what_to_install(
    producers: Producers, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exporter.errors import ConfigError

    find: Callable[..., Any] = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "redis" else find(name))
    rig = producers.new("one")
    with pytest.raises(ConfigError, match=r'sinks.kafka.redis.*pip install "ci-exporter\[redis\]"'):
        producers.sink(rig)
    rig.store.close()
