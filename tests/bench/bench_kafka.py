"""How fast events go from the outbox to acknowledged, against bare confluent_kafka, and what an outage costs.

Run it as ``PYTHONPATH=. python tests/bench/bench_kafka.py [--profile]``. The brokers are librdkafka's own in
memory, in this process: they cost part of the two cores that an exporter would have for itself.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Producer

from exporter.clock import SystemClock
from exporter.config.sinks import KafkaSettings
from exporter.model.events import Event
from exporter.selfmetrics import SelfMetrics
from exporter.sinks.base import SinkContext
from exporter.sinks.kafka.envelopes import ENVELOPES
from exporter.sinks.kafka.producing import producer_options
from exporter.sinks.kafka.sink import KafkaSink
from exporter.store.sql import SqlStore
from tests.support.kafka import Cluster

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENTS = 100_000
PROJECTS = 50
WAITING = 300_000
TARGET = 20_000


def events(count: int, projects: int) -> Iterator[Event]:
    """*count* events of 800 bytes, as a forge sends them."""
    for serial in range(count):
        project = str(serial % projects)
        data = {"id": serial, "project_id": project, "action_name": "pushed to", "note": "x" * 740}
        yield Event(
            stream="forge",
            id=f"forge.example.com/{serial}",
            source=f"https://forge.example.com/projects/{project}",
            type="com.example.forge.event.pushed",
            subject=project,
            time=NOW,
            key=project,
            data=json.dumps(data).encode(),
            number=serial,
        )


def filled(directory: Path, count: int, projects: int) -> SqlStore:
    """A store with *count* events in its outbox."""
    store = SqlStore(f"sqlite:///{directory}/{count}-{projects}.db")
    store.outbox.subscribe("kafka", ["forge"])
    batch: list[Event] = []
    for event in events(count, projects):
        batch.append(event)
        if len(batch) == 5000:
            with store._write() as connection:
                store.outbox.add(connection, batch, NOW)
            batch = []
    return store


def settings(cluster: Cluster, form: str = "binary") -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=cluster.servers, topic="bench", format=form)  # type: ignore[arg-type]


def start(store: SqlStore, chosen: KafkaSettings) -> tuple[threading.Thread, threading.Event, SelfMetrics]:
    metrics = SelfMetrics("0")
    context = SinkContext(store, SystemClock(), metrics.sinks, metrics.work)
    sink = KafkaSink(chosen, context, frozenset({"forge"}))
    stopping = threading.Event()
    thread = threading.Thread(target=sink.run, args=(stopping,))
    thread.start()
    return thread, stopping, metrics


def ours(directory: Path, form: str, projects: int) -> tuple[float, float]:
    """Events per second from the outbox to acknowledged and saved, and microseconds of CPU for each."""
    store, cluster = filled(directory, EVENTS, projects), Cluster()
    last = store.outbox.read("kafka", EVENTS - 1, 10)[-1].position
    began, worked = time.perf_counter(), time.process_time()
    thread, stopping, _ = start(store, settings(cluster, form))
    while store.outbox.position("kafka") < last:
        assert thread.is_alive()
        time.sleep(0.02)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    stopping.set()
    thread.join()
    store.close()
    Path(directory, f"{EVENTS}-{projects}.db").unlink()
    return EVENTS / seconds, worked / EVENTS * 1e6


def bare(projects: int) -> float:
    """The same of a bare producer: finished messages from memory, counted when they are acknowledged."""
    cluster = Cluster()
    messages = [(event.key.encode(), *ENVELOPES["binary"](event)) for event in events(EVENTS, projects)]
    producer = Producer({**producer_options(settings(cluster), None), "log_level": 0})
    acknowledged = 0

    def note(error: object, _message: object) -> None:
        nonlocal acknowledged
        acknowledged += error is None

    began = time.perf_counter()
    for key, value, headers in messages:
        while True:
            try:
                producer.produce("bench", value, key, on_delivery=note, headers=headers)
                break
            except BufferError:
                producer.poll(0.01)
    producer.flush()
    assert acknowledged == EVENTS
    return EVENTS / (time.perf_counter() - began)


def outage(directory: Path) -> tuple[int, float, float]:
    """Events that wait for a dead broker, megabytes that the process grew by, seconds that a stop took."""
    store, cluster = filled(directory, WAITING, PROJECTS), Cluster()
    cluster.stop()
    before = _peak_megabytes()
    thread, stopping, metrics = start(store, settings(cluster))
    while metrics.sinks._registry.get_sample_value("ci_exporter_sink_success", {"sink": "kafka"}) != 0:
        time.sleep(0.05)
    time.sleep(5)
    grown = _peak_megabytes() - before
    waiting = store.outbox.backlog("kafka").events
    began = time.perf_counter()
    stopping.set()
    thread.join()
    stopped = time.perf_counter() - began
    store.close()
    return waiting, grown, stopped


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        waiting, grown, stopped = outage(directory)
        print(
            f"outage: {waiting:,} events wait, {grown:.0f} MB of memory for those in flight,"
            f" stopped within {stopped:.2f} s (promised: 1)"
        )
        for form, projects in (("binary", PROJECTS), ("binary", 1), ("structured", PROJECTS)):
            mine, cost = ours(directory, form, projects)
            theirs = bare(projects)
            print(
                f"outbox to acknowledged, {form}, {projects} projects: {mine:,.0f} events/s"
                f" with {cost:.0f} µs of CPU each, the brokers' included (target {TARGET:,};"
                f" bare confluent_kafka from memory: {theirs:,.0f}; ratio {theirs / mine:.1f})"
            )


def profile() -> None:
    """Print where the sink's thread spends its time."""
    with tempfile.TemporaryDirectory() as name:
        store, cluster = filled(Path(name), EVENTS, PROJECTS), Cluster()
        metrics = SelfMetrics("0")
        context = SinkContext(store, SystemClock(), metrics.sinks, metrics.work)
        sink = KafkaSink(settings(cluster), context, frozenset({"forge"}))
        stopping = threading.Event()
        threading.Timer(10, stopping.set).start()
        with cProfile.Profile() as profiler:
            sink.run(stopping)
        store.close()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    profile() if "--profile" in sys.argv else main()
