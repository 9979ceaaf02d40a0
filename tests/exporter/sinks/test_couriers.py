"""The threads of the sinks: they deliver while this process polls, and fail alone."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.clock import SystemClock
from exporter.contract import Batch, Unit
from exporter.errors import SinkError, StoreError
from exporter.model.events import Backlog, Event
from exporter.sinkmetrics import SinkMetrics
from exporter.sinks import couriers as couriers_module
from exporter.sinks.base import Sink
from exporter.sinks.couriers import Couriers
from exporter.store.sql import SqlStore
from tests.support.process import wait_until
from tests.support.stores import ready_store

NOW = datetime(2026, 11, 1, tzinfo=UTC)
PATIENCE = 30.0


class Recorder(Sink):
    """Delivers into a list; ``faults`` are raised one after the other before anything is delivered."""

    def __init__(self, name: str, store: SqlStore, *faults: Exception) -> None:
        self.name = name
        self.streams = frozenset(("forge",))
        self.got: list[str] = []
        self.running = 0
        self.most = 0
        self.closed = 0
        self.hold = threading.Event()
        self.hold.set()
        self._outbox = store.outbox
        self._faults = list(faults)

    def run(self, stopping: threading.Event) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self._faults:
                raise self._faults.pop(0)
            with self._outbox.bell() as bell:
                while not stopping.is_set():
                    self._deliver()
                    bell.wait(0.05)
            self.hold.wait(PATIENCE)
        finally:
            self.running -= 1

    def _deliver(self) -> None:
        for entry in self._outbox.read(self.name, self._outbox.position(self.name), 10):
            self.got.append(entry.event.id)
            self._outbox.advance(self.name, entry.position)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = SqlStore(ready_store(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def couriers(
    store: SqlStore, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Couriers]:
    monkeypatch.setattr(couriers_module, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(couriers_module, "_SWEEP_SECONDS", 0.01)
    built = Couriers(store.outbox, SinkMetrics(registry), SystemClock())
    yield built
    built.stop(PATIENCE)


@pytest.fixture
def tell(store: SqlStore) -> Callable[..., None]:
    (unit,) = store.register("forge", [Unit("7", "g/p")], backfill_days=0, now=NOW)

    def save(*numbers: int) -> None:
        events = tuple(
            Event("forge", str(one), "s", "t", "7", NOW, "7", json.dumps(one).encode(), one)
            for one in numbers
        )
        store.save(unit.id, Batch(events=events), NOW)

    return save


def sql_rows(store: SqlStore) -> int:
    """Events in the outbox, whoever wants them."""
    with store._read() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM outbox").scalar_one())


def test_a_sink_delivers_only_while_this_process_polls(couriers: Any, store: Any, tell: Any) -> None:
    sink = Recorder("kafka", store)
    couriers.exchange([sink], 0)
    tell(1)
    couriers.lead(False)
    assert (sink.got, sink.running) == ([], 0)
    couriers.lead(True)
    wait_until(lambda: sink.got == ["1"], "the delivery")
    couriers.lead(False)
    wait_until(lambda: sink.running == 0, "its end")
    tell(2)
    couriers.lead(True)
    wait_until(lambda: sink.got == ["1", "2"], "both")
    assert sink.most == 1


def test_it_does_not_begin_again_before_it_has_ended(couriers: Any, store: Any, tell: Any) -> None:
    sink = Recorder("kafka", store)
    couriers.exchange([sink], 0)
    sink.hold.clear()
    couriers.lead(True)
    wait_until(lambda: sink.running == 1, "its start")
    couriers.lead(False)
    couriers.lead(True)
    couriers.lead(False)
    couriers.lead(True)
    sink.hold.set()
    tell(1)
    wait_until(lambda: sink.got == ["1"], "the delivery")
    assert sink.most == 1


def test_what_a_sink_raises_ends_neither_it_nor_the_others(
    couriers: Any, store: Any, tell: Any, registry: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bad = Recorder("kafka", store, SinkError("broker away"), SinkError("broker away"), ZeroDivisionError())
    good = Recorder("people", store)
    couriers.exchange([bad, good], 0)
    with caplog.at_level(logging.DEBUG, "exporter.sinks.couriers"):
        couriers.lead(True)
        tell(1)
        wait_until(lambda: bad.got == good.got == ["1"], "both sinks")
    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert levels.count(("WARNING", "sink failed")) == 1, "the second failure only repeats the first"
    assert levels.count(("DEBUG", "sink failed")) == 1
    assert levels.count(("ERROR", "sink raised")) == 1
    assert registry.get_sample_value("ci_exporter_sink_success", {"sink": "kafka"}) == 0
    assert registry.get_sample_value("ci_exporter_sink_success", {"sink": "people"}) is None


def test_what_is_delivered_is_swept(couriers: Any, store: Any, tell: Any) -> None:
    couriers.exchange([Recorder("kafka", store), Recorder("people", store)], 0)
    tell(1, 2, 3)
    assert sql_rows(store) == 3
    couriers.lead(True)
    wait_until(lambda: sql_rows(store) == 0, "the sweep")


def test_a_reload_goes_on_where_the_sink_before_stopped_and_drops_what_nobody_wants(
    couriers: Any, store: Any, tell: Any, registry: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first, gone = Recorder("kafka", store), Recorder("people", store, *[SinkError("no") for _ in range(9999)])
    couriers.exchange([first, gone], 0)
    couriers.lead(True)
    tell(1)
    wait_until(lambda: first.got == ["1"], "the first")
    second = Recorder("kafka", store)
    couriers.exchange([second], PATIENCE)
    assert (first.running, first.closed, gone.closed) == (0, 1, 1)
    said = lambda: [vars(one)["undelivered"] for one in caplog.records if "any more" in one.msg]  # noqa: E731
    # Before the next event: until this sink is dropped, it would wait for it, too.
    wait_until(lambda: said() == [1], "the line of the log")
    tell(2)
    wait_until(lambda: second.got == ["2"], "the second")
    assert registry.get_sample_value("ci_exporter_sink_success", {"sink": "people"}) is None


def test_after_a_reload_a_sink_that_hangs_holds_up_no_other(couriers: Any, store: Any, tell: Any) -> None:
    hanging, other = Recorder("kafka", store), Recorder("people", store)
    couriers.exchange([hanging, other], 0)
    hanging.hold.clear()
    couriers.lead(True)
    wait_until(lambda: hanging.running == 1, "its start")
    after, others_after = Recorder("kafka", store), Recorder("people", store)
    couriers.exchange([after, others_after], 0)
    tell(1)
    wait_until(lambda: others_after.got == ["1"], "the delivery of the other")
    assert (hanging.running, after.running) == (1, 0)
    hanging.hold.set()
    wait_until(lambda: after.got == ["1"], "the delivery of the next one of its name")


def test_a_stop_waits_for_the_sinks_but_not_for_ever(couriers: Any, store: Any) -> None:
    sink = Recorder("kafka", store)
    couriers.exchange([sink], 0)
    sink.hold.clear()
    couriers.lead(True)
    wait_until(lambda: sink.running == 1, "its start")
    assert not couriers.stop(0.05)
    assert sink.closed == 0
    sink.hold.set()
    assert couriers.stop(PATIENCE)
    assert sink.closed == 1


def test_a_sink_that_another_process_dropped_is_subscribed_when_it_begins(
    couriers: Any, store: Any, tell: Any, tmp_path: Path
) -> None:
    """Two replicas of which only one is configured with the sink yet, as while they are updated."""
    sink = Recorder("kafka", store)
    couriers.exchange([sink], 0)
    other = SqlStore(ready_store(tmp_path))
    other.outbox.unsubscribe_others([])
    other.close()
    couriers.lead(True)
    wait_until(lambda: "kafka" in _subscribed(store), "it is subscribed again")
    tell(1)
    wait_until(lambda: sink.got == ["1"], "the delivery")


def test_a_store_that_is_away_refuses_no_sinks(
    couriers: Any, store: Any, tell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Recorder("kafka", store)
    couriers.lead(True)
    with monkeypatch.context() as away:
        away.setattr(store.outbox, "subscribe", _no_store)
        couriers.exchange([sink], 0)
    wait_until(lambda: "kafka" in _subscribed(store), "it is subscribed once the store is back")
    tell(1)
    wait_until(lambda: sink.got == ["1"], "the delivery")


def test_who_polls_no_more_shows_nothing_that_it_cannot_know(
    couriers: Any, store: Any, registry: CollectorRegistry
) -> None:
    metrics = couriers._metrics
    sink = Recorder("kafka", store)
    couriers.exchange([sink], 0)
    couriers.lead(True)
    wait_until(lambda: sink.running == 1, "its start")
    metrics.failed("kafka")
    metrics.waiting("kafka", Backlog(7, NOW))
    couriers.lead(False)
    oldest = "ci_exporter_outbox_oldest_event_timestamp_seconds"
    wait_until(lambda: registry.get_sample_value(oldest, {"sink": "kafka"}) is None, "its end")
    wait_until(lambda: registry.get_sample_value("ci_exporter_outbox_events", {"sink": "kafka"}) == 0, "zero")
    assert registry.get_sample_value("ci_exporter_sink_success", {"sink": "kafka"}) is None


def _subscribed(store: SqlStore) -> list[str]:
    with store._read() as connection:
        return [str(name) for (name,) in connection.exec_driver_sql("SELECT name FROM sinks")]


def _no_store(*_: object) -> int:
    raise StoreError("the database is away")
