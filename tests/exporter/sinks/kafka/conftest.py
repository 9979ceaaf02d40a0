"""A Kafka sink on a real store and librdkafka's cluster in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.config.sinks import KafkaSettings
from exporter.model.events import Event
from exporter.selfmetrics import SelfMetrics
from exporter.sinks.base import Claims, Sink, SinkContext
from exporter.sinks.kafka.sink import KafkaSink
from exporter.store.sql import SqlStore
from tests.support.engine import wait_until
from tests.support.kafka import Cluster
from tests.support.process import PATIENCE
from tests.support.stores import ready_store

TOPIC = "data-bus"
TIME = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def event(serial: int, key: str = "7", **facts: Any) -> Event:
    """Event *serial* of a forge."""
    values: dict[str, Any] = dict(
        stream="forge",
        id=f"host/{serial}",
        source=f"https://host/{key}",
        type="com.host.pushed",
        subject=key,
        time=TIME,
        key=key,
        data=json.dumps({"id": serial}).encode(),
        number=serial,
    )
    return Event(**(values | facts))


class Rig:
    """A store with a cluster beside it, and sinks from one to the other."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.url = ready_store(folder)
        self.cluster = cluster
        self.store = SqlStore(self.url)
        self.metrics = SelfMetrics("0")
        self.metrics.sinks.begin("kafka")
        self.store.outbox.subscribe("kafka", ["forge", "runs"])
        self.raised: list[BaseException] = []

    def tell(self, *events: Event) -> None:
        """Put *events* into the outbox, as a save does."""
        with self.store._write() as connection:
            self.store.outbox.add(connection, events, TIME)
        self.store.outbox.ring()

    def sink(self, claims: Claims | None = None, **settings: Any) -> KafkaSink:
        """A new sink, as a new process would have."""
        chosen = {"bootstrap_servers": self.cluster.servers, "topic": TOPIC} | settings
        context = SinkContext(self.store, SystemClock(), self.metrics.sinks, self.metrics.work)
        return KafkaSink(KafkaSettings(**chosen), context, frozenset({"forge", "runs"}), claims)

    @contextmanager
    def running(self, sink: Sink) -> Iterator[threading.Thread]:
        """*sink* delivers while the block runs; what it raises is in ``raised``."""
        stopping = threading.Event()

        def work() -> None:
            try:
                sink.run(stopping)
            except BaseException as error:
                self.raised.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield thread
        finally:
            stopping.set()
            thread.join(PATIENCE)
        assert not thread.is_alive()

    def deliver(self, sink: Sink | None = None) -> None:
        """Run *sink* until nothing is left."""
        with self.running(sink or self.sink()):
            self.until_delivered()
        assert self.raised == []

    def until_delivered(self) -> None:
        wait_until(lambda: self.raised or not self.left(), "everything is delivered")

    def left(self) -> int:
        """How many events are after the stored position."""
        return self.store.outbox.backlog("kafka").events

    def value(self, name: str, **labels: str) -> float | None:
        """A sample of the sinks' metrics."""
        return self.metrics.sinks._registry.get_sample_value(name, {"sink": "kafka", **labels})

    def deliveries(self, result: str) -> float:
        """How many deliveries ended as *result*."""
        return self.value("ci_exporter_sink_deliveries_total", result=result) or 0.0

    def report(self, name: str, **labels: str) -> float:
        """A sample of the runner-style metrics."""
        for family in self.metrics.work.collect():
            for sample in family.samples:
                if sample.name == f"ci_exporter_{name}" and labels.items() <= sample.labels.items():
                    return sample.value
        raise AssertionError(name)

    def messages(self, count: int) -> list[Any]:
        """The first message of each of *count* events, in the order of the topic; no event came twice."""
        with self.cluster.reader(TOPIC) as reader:
            first = reader.distinct(count)
            assert len(reader.messages) == count
        return first

    def dead(self) -> list[tuple[str, str]]:
        """``(id, reason)`` of the dead letters."""
        with self.store._read() as connection:
            rows = connection.exec_driver_sql("SELECT event_id, reason FROM dead_letters ORDER BY position")
            return [tuple(row) for row in rows]


@pytest.fixture
def cluster() -> Cluster:
    """A cluster of its own for each test, since most of them break it."""
    return Cluster()


@pytest.fixture
def rig(tmp_path: Path, cluster: Cluster) -> Iterator[Rig]:
    rig = Rig(tmp_path, cluster)
    yield rig
    rig.store.close()


@pytest.fixture
def events() -> Any:
    """Builds events: ``events(1)``, or many with keys in turn: ``events.some(100, keys=5)``."""

    class Events:
        def __call__(self, serial: int, key: str = "7", **facts: Any) -> Event:
            return event(serial, key, **facts)

        def some(self, count: int, keys: int = 1, first: int = 0, **facts: Any) -> Sequence[Event]:
            return [event(serial, str(serial % keys), **facts) for serial in range(first, first + count)]

    return Events()
