"""The sink as the program runs it: on a thread, with somebody who sends, until it is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import CollectorRegistry

from exporter.clock import SystemClock
from exporter.config.alerts import AlertsSettings
from exporter.errors import StoreError
from exporter.runnermetrics import RunnerMetrics
from exporter.sinkmetrics import SinkMetrics
from exporter.sinks.alerts.sink import AlertsSink, Reminders
from exporter.sinks.base import SinkContext
from exporter.store.sql import SqlStore
from tests.support.lookout import channels
from tests.support.process import PATIENCE, wait_until


class Sender:
    """Sends nothing, and notes when it runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.reminders: list[Reminders] = []
        self.running = False

    def run(self, stopping: threading.Event) -> None:
        self.runs += 1
        self.running = True
        stopping.wait(PATIENCE)
        self.running = False

    def remind(self, standing: Reminders) -> None:
        self.reminders.append(standing)


@pytest.fixture
def store(sqlite_url: str) -> Iterator[SqlStore]:
    store = SqlStore(sqlite_url)
    yield store
    store.close()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def make(store: SqlStore, registry: CollectorRegistry) -> Callable[[Sender], AlertsSink]:
    def new(sender: Sender) -> AlertsSink:
        duty = {"duty": {"alertmanager": {"url": "http://127.0.0.1:9093"}}}
        settings = AlertsSettings.model_validate(
            {"channels": channels("chat") | duty, "evaluation_interval_seconds": 0.1}
        )
        work = RunnerMetrics(version="0", per_collector=True)
        context = SinkContext(store, SystemClock(), SinkMetrics(registry), work)
        store.outbox.subscribe(AlertsSink.name, AlertsSink.streams)
        return AlertsSink(settings, context, sender)

    return new


@contextmanager
def running(sink: AlertsSink) -> Iterator[threading.Event]:
    stopping = threading.Event()
    thread = threading.Thread(target=sink.run, args=(stopping,))
    thread.start()
    try:
        yield stopping
    finally:
        stopping.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_it_watches_and_has_somebody_send_until_it_is_told_to_stop(
    make: Callable[[Sender], AlertsSink], registry: CollectorRegistry
) -> None:
    sender = Sender()
    rule = {"rule": "default-branch-broken", "severity": "warning"}
    with running(make(sender)):
        wait_until(lambda: sender.running, "it sends")
        wait_until(
            lambda: registry.get_sample_value("ci_exporter_sink_success", {"sink": "alerts"}) == 1,
            "it watches",
        )
        assert registry.get_sample_value("ci_exporter_alerts_active", rule) == 0
    assert not sender.running
    assert sender.reminders[0] == {"duty": ()}
    assert sender.reminders[-1] == {}
    assert registry.get_sample_value("ci_exporter_alerts_active", rule) is None


def test_what_fails_ends_the_sending_too_and_both_can_begin_again(
    make: Callable[[Sender], AlertsSink], store: SqlStore
) -> None:
    sender = Sender()
    sink = make(sender)
    store.alerting.begin, kept = _raise, store.alerting.begin  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        sink.run(threading.Event())
    assert (sender.runs, sender.running) == (1, False)
    store.alerting.begin = kept  # type: ignore[method-assign]
    with running(sink):
        wait_until(lambda: sender.runs == 2, "it sends again")


def _raise() -> None:
    raise StoreError("the disk is full")
