"""The outbox against a model of it, whatever is done in whatever order; and a disk that is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exporter.contract import Batch, Unit
from exporter.errors import StoreError
from exporter.model.events import Event
from exporter.store import outbox as outbox_module
from exporter.store import told as told_module
from exporter.store.sql import SqlStore
from exporter.store.tables import told

START = datetime(2026, 3, 1, tzinfo=UTC)
STREAMS = ("forge", "runs", "weather")
NAMES = st.sampled_from(("kafka", "people"))
SOME_STREAMS = st.sets(st.sampled_from(STREAMS), min_size=1)


def event(number: int, stream: str = "forge", *, until: datetime | None = None) -> Event:
    return Event(stream, f"host/{number}", "s", "t", "s", START, "7", b"{}", number, until)


@dataclass
class Taker:
    """What a sink should have to deliver, in order, and what it takes."""

    streams: set[str]
    waiting: list[str] = field(default_factory=list)


class OutboxMachine(RuleBasedStateMachine):
    """Sinks come, go and change, events are saved and delivered, and what is delivered is swept."""

    @initialize()
    def open(self) -> None:
        self.store = SqlStore("sqlite://")
        (unit,) = self.store.register("x", [Unit("1", "one")], backfill_days=0, now=START)
        self.unit = unit.id
        self.takers: dict[str, Taker] = {}
        self.remembered: set[int] = set()
        self.positions: list[int] = []

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()

    @rule(name=NAMES, streams=SOME_STREAMS)
    def subscribe(self, name: str, streams: set[str]) -> None:
        if name in self.takers and streams != self.takers[name].streams:
            # Of what it did not want before, it may get what is still there: so it first takes all.
            self.deliver(name, 1000)
            self.store.outbox.sweep()
            self.takers[name].streams = streams
        self.takers.setdefault(name, Taker(streams))
        self.store.outbox.subscribe(name, streams)

    @rule(names=st.sets(NAMES))
    def configure(self, names: set[str]) -> None:
        left = self.store.outbox.unsubscribe_others(names)
        gone = self.takers.keys() - names
        assert left == {name: len(self.takers[name].waiting) for name in gone}
        for name in gone:
            del self.takers[name]

    @rule(numbers=st.lists(st.integers(0, 30), max_size=6), stream=st.sampled_from(STREAMS))
    def save(self, numbers: list[int], stream: str) -> None:
        batch = Batch(events=tuple(event(number, stream) for number in numbers))
        saved = self.store.save(self.unit, batch, START)
        wanted = any(stream in taker.streams for taker in self.takers.values())
        new = [n for n in dict.fromkeys(numbers) if n not in self.remembered] if wanted else []
        assert saved.new_events == len(new)
        self.remembered |= set(new)
        for taker in self.takers.values():
            if stream in taker.streams:
                taker.waiting += [f"host/{number}" for number in new]

    @rule(name=NAMES, count=st.integers(1, 8))
    def deliver(self, name: str, count: int) -> None:
        if name not in self.takers:
            return
        outbox = self.store.outbox
        entries = outbox.read(name, outbox.position(name), count)
        if entries:
            outbox.advance(name, entries[-1].position)
            del self.takers[name].waiting[: len(entries)]

    @rule()
    def sweep(self) -> None:
        self.store.outbox.sweep()
        if not any(taker.waiting for taker in self.takers.values()):
            with self.store._read() as connection:
                assert connection.exec_driver_sql("SELECT count(*) FROM outbox").scalar_one() == 0

    @invariant()
    def each_sink_has_what_it_wants(self) -> None:
        for name, taker in getattr(self, "takers", {}).items():
            outbox = self.store.outbox
            entries = outbox.read(name, outbox.position(name), 1000)
            assert [entry.event.id for entry in entries] == taker.waiting
            assert [e.position for e in entries] == sorted({e.position for e in entries})
            assert outbox.backlog(name).events == len(taker.waiting)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "_SWEEP_ROWS", 3)
    monkeypatch.setattr(told_module, "_PART", 3)
    monkeypatch.setattr(told_module, "_CLAIMED", 4)


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)


@pytest.fixture(scope="module")
def memory() -> Iterator[SqlStore]:
    """One store for all examples, since it takes longer to open than each of them."""
    store = SqlStore("sqlite://")
    yield store
    store.close()


HOURS = st.one_of(st.none(), st.integers(0, 6))
REMEMBERED = st.dictionaries(st.tuples(st.integers(1, 3), st.integers(-9, 9)), HOURS, max_size=25)


@settings(max_examples=60, deadline=None)
@given(remembered=REMEMBERED, hour=st.integers(0, 7))
def test_what_is_over_is_forgotten_and_nothing_else(
    memory: SqlStore, remembered: dict[tuple[int, int], int | None], hour: int
) -> None:
    begin = START - datetime(1970, 1, 1, tzinfo=UTC)
    rows = [
        {
            "target_id": target,
            "number": number,
            "forget_hour": None if after is None else begin // timedelta(hours=1) + after,
        }
        for (target, number), after in remembered.items()
    ]
    with memory._write() as connection:
        connection.execute(sa.delete(told))
        if rows:
            connection.execute(sa.insert(told), rows)
    over = {key for key, after in remembered.items() if after is not None and after <= hour}
    assert memory.outbox.forget(START + timedelta(hours=hour, minutes=59)) == len(over)
    with memory._read() as connection:
        kept = connection.execute(sa.select(told.c.target_id, told.c.number))
        assert {tuple(row) for row in kept} == remembered.keys() - over


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2 * 10**9), st.integers(0, 999_999))
def test_nothing_is_forgotten_before_its_time_nor_kept_an_hour_longer(
    memory: SqlStore, second: int, micro: int
) -> None:
    until = datetime.fromtimestamp(second, UTC) + timedelta(microseconds=micro)
    with memory._write() as connection:
        connection.execute(sa.delete(told))
        memory.outbox.claim(connection, 1, [event(1, until=until)])
    assert memory.outbox.forget(until - timedelta(microseconds=1)) == 0
    assert memory.outbox.forget(until + timedelta(hours=1)) == 1


@contextmanager
def no_more_pages(store: SqlStore) -> Iterator[None]:
    """The database cannot grow while the block runs."""

    def limit(connection: Any, *_: Any) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    sa.event.listen(store._engine, "begin", limit)
    yield
    sa.event.remove(store._engine, "begin", limit)
    with store._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")


def test_a_full_disk_keeps_events_and_their_batch_out_together(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path}/store.db")
    (unit,) = store.register("x", [Unit("1", "one")], backfill_days=0, now=START)
    store.outbox.subscribe("kafka", ["forge"])
    large = tuple(
        Event("forge", f"host/{number}", "s", "t", "s", START, "7", bytes(5000), number)
        for number in range(20)
    )
    with no_more_pages(store), pytest.raises(StoreError, match="disk is full"):
        store.save(unit.id, Batch(events=large, cursor="next"), START)
    assert (store.position(unit.id).cursor, store.outbox.backlog("kafka").events) == (None, 0)
    assert store.save(unit.id, Batch(events=large, cursor="next"), START).new_events == 20
    position = store.outbox.read("kafka", 0, 20)[-1].position
    with no_more_pages(store):
        store.outbox.advance("kafka", position)
        assert store.outbox.sweep() == 20
    store.close()
