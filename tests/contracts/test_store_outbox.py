"""What every store promises of events: kept with what they tell of, in order, until every sink has them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from exporter.contract import Batch, Unit
from exporter.errors import StoreError
from exporter.model.events import Event
from exporter.model.runs import Status
from exporter.store.sql import SqlStore
from tests.contracts.test_store import REFUSE, kind_of
from tests.support.stores import ready_store


def event(serial: int, stream: str = "forge", **facts: Any) -> Event:
    values: dict[str, Any] = dict(
        stream=stream,
        id=f"host/{serial}",
        source="https://host/7",
        type="com.host.pushed",
        subject="7",
        time=facts.pop("time", None),
        key="7",
        data=json.dumps({"id": serial}).encode(),
        number=serial,
    )
    return Event(**(values | facts))


@pytest.fixture
def tell(make: Any) -> Any:
    return lambda serial, *stream, **facts: event(serial, *stream, **({"time": make.START} | facts))


@pytest.fixture
def siblings(store: SqlStore, make: Any) -> Any:
    """Makes units of one target."""

    def new(count: int) -> list[Any]:
        wanted = [Unit(str(key), f"g/{key}") for key in range(count)]
        return [
            make.Desk(store, unit.id) for unit in store.register("x", wanted, backfill_days=0, now=make.START)
        ]

    return new


def told(store: SqlStore, sink: str = "kafka", after: int = 0) -> list[str]:
    return [entry.event.id for entry in store.outbox.read(sink, after, 10_000)]


# -- once, in order ------------------------------------------------------------------------------


def test_an_event_comes_back_as_it_was_saved(desk: Any, tell: Any) -> None:
    desk.store.outbox.subscribe("kafka", ["forge"])
    sent = tell(1, data='{"title":"\u2603 \x00 raw"}'.encode(), number=None, remember_until=None)
    assert desk.save(events=(sent,)).new_events == 1
    (entry,) = desk.store.outbox.read("kafka", 0, 10)
    assert entry.event == sent
    assert entry.position > 0


def test_events_are_saved_while_a_process_has_the_right_to_poll(desk: Any, tell: Any) -> None:
    """As in every process that polls: its lease, and the order of the outbox, are locks of their own."""
    lease = desk.store.lease()
    assert lease.acquire()
    try:
        desk.store.outbox.subscribe("kafka", ["forge"])
        assert desk.save(events=(tell(1),)).new_events == 1
    finally:
        lease.release()


def test_an_event_is_told_once_however_often_and_by_whatever_unit_it_is_read(
    siblings: Any, open_store: Any, make: Any, tell: Any
) -> None:
    desk, other = siblings(2)
    desk.store.outbox.subscribe("kafka", ["forge"])
    assert desk.save(events=(tell(2), tell(1), tell(2))).new_events == 2
    assert other.save(events=(tell(1), tell(3))).new_events == 1
    again = make.Desk(open_store(), desk.unit)
    assert again.save(events=(tell(3), tell(1))).new_events == 0
    assert told(desk.store) == ["host/2", "host/1", "host/3"]


def test_events_without_a_number_are_told_apart_by_their_id(desk: Any, tell: Any) -> None:
    desk.store.outbox.subscribe("kafka", ["forge"])
    unnumbered = [tell(number, number=None) for number in (1, 2, 1)]
    assert desk.save(events=(*unnumbered, tell(1))).new_events == 3


def test_what_nobody_subscribed_to_is_not_kept_and_counts_as_untold(desk: Any, tell: Any, sql: Any) -> None:
    assert desk.save(events=(tell(1),)).new_events == 0
    desk.store.outbox.subscribe("kafka", ["forge"])
    assert desk.save(events=(tell(1), tell(2, "weather"))).new_events == 1
    assert told(desk.store) == ["host/1"]


def test_an_event_that_may_be_forgotten_is_told_anew_afterwards(desk: Any, make: Any, tell: Any) -> None:
    desk.store.outbox.subscribe("kafka", ["forge"])
    until = make.START + timedelta(days=3)
    desk.save(events=(tell(1, remember_until=until), tell(2)))
    assert desk.store.outbox.forget(until - timedelta(seconds=1)) == 0
    assert desk.save(events=(tell(1),)).new_events == 0
    assert desk.store.outbox.forget(until) == 1
    assert desk.save(events=(tell(1), tell(2))).new_events == 1


def test_writers_side_by_side_tell_each_event_once_and_hide_none_from_a_reader(
    siblings: Any, open_store: Any, make: Any, tell: Any
) -> None:
    desks = [make.Desk(open_store(), desk.unit) for desk in siblings(4)]
    reader = open_store()
    reader.outbox.subscribe("kafka", ["forge"])
    for desk in desks:
        desk.store.outbox.subscribe("kafka", ["forge"])
    seen: list[str] = []
    after = 0

    def write(index: int) -> int:
        desk = desks[index]
        numbers = [range(base, base + 6) for base in range(index, 120, 3)]
        return sum(desk.save(events=tuple(map(tell, batch))).new_events for batch in numbers)

    with ThreadPoolExecutor(4) as pool:
        writes = [pool.submit(write, index) for index in range(4)]
        while True:
            done = all(one.done() for one in writes)
            for entry in reader.outbox.read("kafka", after, 7):
                assert entry.position > after
                after = entry.position
                seen.append(entry.event.id)
            if done and not reader.outbox.read("kafka", after, 1):
                break
    assert sum(one.result() for one in writes) == len(seen) == len(set(seen))


@pytest.mark.parametrize("refused", [("UPDATE", "units"), ("INSERT", "outbox")])
def test_events_are_saved_with_their_batch_or_not_at_all(
    desk: Any, make: Any, tell: Any, sql: Any, store_url: str, refused: tuple[str, str]
) -> None:
    desk.store.outbox.subscribe("kafka", ["forge", "runs"])
    for statement in REFUSE[kind_of(store_url)]:
        sql(statement.format(*refused))
    with pytest.raises(StoreError, match="refused"):
        desk.save(make.run(), events=(tell(1),), cursor="next")
    assert told(desk.store) == []
    assert sql("SELECT count(*) FROM told")[0][0] == 0


def test_writers_that_know_the_same_events_in_other_orders_do_not_wait_for_each_other_in_a_circle(
    siblings: Any, open_store: Any, make: Any, tell: Any
) -> None:
    desks = [make.Desk(open_store(), desk.unit) for desk in siblings(4)]
    desks[0].store.outbox.subscribe("kafka", ["forge"])

    def write(index: int) -> int:
        new = 0
        for part in range(8):
            known = [tell(number) for number in range(part * 100, part * 100 + 300)]
            # Each would remember them for another time, too.
            later = [replace(one, remember_until=make.at(60 * index * 60)) for one in known]
            new += desks[index].save(events=tuple(later[:: -1 if index % 2 else 1])).new_events
        return new

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, range(4))) == 1000
    assert len(set(told(desks[0].store))) == 1000


def test_what_another_process_subscribes_to_is_kept_from_the_next_save_on(
    siblings: Any, open_store: Any, tell: Any
) -> None:
    (desk,) = siblings(1)
    desk.save(events=(tell(1),))
    other = open_store()
    other.outbox.subscribe("kafka", ["forge"])
    assert desk.save(events=(tell(2),)).new_events == 1
    assert told(other) == ["host/2"]
    other.outbox.unsubscribe_others([])
    assert desk.save(events=(tell(3),)).new_events == 0


# -- positions -----------------------------------------------------------------------------------


def test_each_sink_has_its_own_position_which_never_goes_back(desk: Any, tell: Any, open_store: Any) -> None:
    outbox = desk.store.outbox
    outbox.subscribe("kafka", ["forge"])
    outbox.subscribe("people", ["forge", "runs"])
    desk.save(events=(tell(1), tell(2), tell(3)))
    positions = [entry.position for entry in outbox.read("kafka", 0, 10)]
    outbox.advance("kafka", positions[1])
    outbox.advance("kafka", positions[0])
    other = open_store().outbox
    assert (other.position("kafka"), other.position("people")) == (positions[1], 0)
    assert other.backlog("kafka").events == 1
    assert other.backlog("people").events == 3


def test_what_every_sink_delivered_is_swept_and_no_position_is_given_twice(
    desk: Any, tell: Any, sql: Any
) -> None:
    outbox = desk.store.outbox
    outbox.subscribe("kafka", ["forge"])
    outbox.subscribe("people", ["forge"])
    desk.save(events=(tell(1), tell(2)))
    last = outbox.read("kafka", 0, 10)[-1].position
    outbox.advance("kafka", last)
    assert outbox.sweep() == 0
    outbox.advance("people", last)
    assert outbox.sweep() == 2
    assert sql("SELECT count(*) FROM outbox")[0][0] == 0
    desk.save(events=(tell(3),))
    assert outbox.read("kafka", last, 10)[0].position > last
    assert outbox.backlog("kafka").oldest is not None


def test_a_sink_that_none_of_the_events_concerns_keeps_nothing_of_them(
    desk: Any, tell: Any, sql: Any
) -> None:
    outbox = desk.store.outbox
    outbox.subscribe("kafka", ["forge"])
    outbox.subscribe("people", ["runs"])
    desk.save(events=(tell(1), tell(2)))
    outbox.advance("kafka", outbox.read("kafka", 0, 10)[-1].position)
    assert outbox.sweep() == 2
    assert sql("SELECT count(*) FROM outbox")[0][0] == 0
    outbox.subscribe("people", ["forge", "runs"])
    desk.save(events=(tell(3),))
    assert told(desk.store, "people", outbox.position("people")) == ["host/3"]


def test_without_a_sink_all_is_swept(desk: Any, tell: Any, sql: Any) -> None:
    outbox = desk.store.outbox
    outbox.subscribe("kafka", ["forge"])
    desk.save(events=(tell(1), tell(2)))
    outbox.unsubscribe_others([])
    assert outbox.sweep() == 2
    assert sql("SELECT count(*) FROM outbox")[0][0] == 0


def test_a_large_backlog_is_estimated_from_its_beginning(
    desk: Any, tell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.store.outbox._COUNTED", 20)
    outbox = desk.store.outbox
    outbox.subscribe("kafka", ["forge"])
    outbox.subscribe("people", ["forge", "weather"])
    desk.save(events=tuple(tell(number, "weather" if number % 2 else "forge") for number in range(100)))
    assert outbox.backlog("people").events == 100
    assert 48 <= outbox.backlog("kafka").events <= 52
    outbox.advance("kafka", outbox.read("kafka", 0, 35)[-1].position)
    assert outbox.backlog("kafka").events == 15


def test_a_new_sink_begins_with_what_is_saved_after_it_came(desk: Any, tell: Any) -> None:
    outbox = desk.store.outbox
    outbox.subscribe("kafka", ["forge"])
    desk.save(events=(tell(1),))
    outbox.subscribe("people", ["forge"])
    desk.save(events=(tell(2),))
    assert told(desk.store, "kafka", outbox.position("kafka")) == ["host/1", "host/2"]
    assert told(desk.store, "people", outbox.position("people")) == ["host/2"]


def test_a_sink_that_is_not_configured_any_more_keeps_nothing(desk: Any, tell: Any) -> None:
    outbox = desk.store.outbox
    outbox.subscribe("kafka", ["forge"])
    outbox.subscribe("people", ["runs"])
    desk.save(events=(tell(1), tell(2)))
    assert outbox.unsubscribe_others(["people"]) == {"kafka": 2}
    assert outbox.streams == {"runs"}
    assert outbox.unsubscribe_others(["people"]) == {}


def test_a_dead_letter_keeps_the_event_and_the_reason(desk: Any, tell: Any, sql: Any, make: Any) -> None:
    outbox = desk.store.outbox
    outbox.subscribe("kafka", ["forge"])
    desk.save(events=(tell(1),))
    (entry,) = outbox.read("kafka", 0, 1)
    for _ in range(2):
        outbox.bury("kafka", entry, "larger than the broker takes", make.START)
    assert outbox.buried("kafka") == 1
    assert sql("SELECT event_id, reason FROM dead_letters") == [("host/1", "larger than the broker takes")]


def test_old_dead_letters_are_deleted_of_sinks_that_are_gone_too(
    desk: Any, tell: Any, sql: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.store.outbox._SWEEP_ROWS", 2)  # several parts
    outbox = desk.store.outbox
    outbox.subscribe("kafka", ["forge"])
    desk.save(events=tuple(tell(serial) for serial in range(1, 8)))
    for day, entry in enumerate(outbox.read("kafka", 0, 10)):
        outbox.bury("kafka" if day else "gone", entry, "too large", make.START + timedelta(days=day))
    assert outbox.forget_buried(make.START) == 0
    assert outbox.forget_buried(make.START + timedelta(days=5)) == 5
    assert sorted(sql("SELECT sink, event_id FROM dead_letters")) == [
        ("kafka", "host/6"),
        ("kafka", "host/7"),
    ]


def test_a_read_ends_before_too_many_bytes_but_always_goes_on(desk: Any, tell: Any) -> None:
    outbox = desk.store.outbox
    outbox.subscribe("kafka", ["forge"])
    sizes = [400, 500, 101, 5_000, 1, 0, 999]
    desk.save(events=tuple(tell(serial, data=b"x" * size) for serial, size in enumerate(sizes)))
    reads, after = [], 0
    while entries := outbox.read("kafka", after, 4, 1_000):
        reads.append([len(entry.event.data) for entry in entries])
        after = entries[-1].position
    assert reads == [[400, 500], [101], [5_000], [1, 0, 999]]


def test_the_bell_rings_when_there_is_something_new(desk: Any, tell: Any) -> None:
    desk.store.outbox.subscribe("kafka", ["forge"])
    with desk.store.outbox.bell() as bell:
        desk.save(events=(tell(1),))
        assert bell.is_set()
        bell.clear()
        desk.save(events=(tell(1),))
        assert not bell.is_set()


# -- what tells stores apart ---------------------------------------------------------------------


def test_a_store_has_one_identity_for_ever_and_another_than_others(
    store: SqlStore, open_store: Any, tmp_path: Any
) -> None:
    stores = [open_store() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        names = set(pool.map(SqlStore.identity, stores))
    assert names == {store.identity()} == {open_store().identity()}
    other = SqlStore(ready_store(tmp_path, "other.db"))
    assert len(other.identity()) == 32
    assert other.identity() not in names
    other.close()


# -- runs ----------------------------------------------------------------------------------------


@pytest.fixture
def watched(desk: Any) -> Any:
    desk.store.providers = lambda: {"source": "forge"}
    desk.store.outbox.subscribe("people", ["runs"])
    return desk


def changes(desk: Any) -> list[tuple[str, str | None]]:
    entries = desk.store.outbox.read("people", 0, 1000)
    return [(entry.event.type, json.loads(entry.event.data)["previous_status"]) for entry in entries]


def test_every_change_of_a_run_and_a_job_is_told_once_with_what_was_before(watched: Any, make: Any) -> None:
    running = make.run(status=Status.RUNNING, updated_at=make.at(1), finished_at=None)
    failed = make.run(status=Status.FAILED, updated_at=make.at(9), finished_at=make.at(8))
    job = make.job(status=Status.FAILED)
    for _ in range(2):
        watched.save(running)
    for _ in range(2):
        watched.save(failed, job)
    assert changes(watched) == [
        ("ci_exporter.run.running", None),
        ("ci_exporter.run.failed", "running"),
        ("ci_exporter.job.failed", None),
    ]


def test_a_job_that_is_skipped_and_waits_again_is_told_with_ids_of_their_own(watched: Any, make: Any) -> None:
    """As after a retry of the job before it: a consumer that knows ids must not take it for a repetition."""
    states = [Status.CREATED, Status.SKIPPED, Status.CREATED, Status.SKIPPED]
    for minute, status in enumerate(states):
        run = make.run(status=Status.RUNNING, updated_at=make.at(minute + 1), finished_at=None)
        job = make.job(status=status, started_at=None, finished_at=None)
        watched.save(run, job)
    entries = watched.store.outbox.read("people", 0, 1000)
    told = [entry.event for entry in entries if entry.event.subject.startswith("jobs/")]
    assert [event.type.rpartition(".")[2] for event in told] == [status.value for status in states]
    assert len({event.id for event in told}) == len(states)


def test_an_execution_that_is_over_before_it_is_seen_is_told_too(watched: Any, make: Any) -> None:
    from exporter.model.runs import Execution

    first = Execution(Status.FAILED, make.at(5), 4.0)
    again = make.run(status=Status.RUNNING, updated_at=make.at(20), finished_at=None, earlier=first)
    watched.save(again)
    assert [kind for kind, _ in changes(watched)] == ["ci_exporter.run.failed", "ci_exporter.run.running"]


def test_history_is_told_to_nobody(watched: Any, new_desk: Any, make: Any, store: SqlStore) -> None:
    watched.save(make.run(run_id=5), history=True)
    (unit,) = store.register("elsewhere", [Unit("8", "g/new")], backfill_days=30, now=make.START)
    store.save(unit.id, Batch(runs=(make.run(run_id=6),), more=True), make.START)
    assert changes(watched) == []
