"""Lanes on the engine with its real scheduler: none delays another; waking, exact times, reload and stop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.contract import Batch, Schedule, Unit
from exporter.errors import SourceError, Stopped
from exporter.families import Sample
from exporter.rounds import scheduler
from exporter.store.lease import FileLease, LeaseUnknown
from tests.support.engine import FAST, Service, wait_until
from tests.support.fakes import DEPTH, Kept, value
from tests.support.process import PATIENCE

SELDOM = Schedule(3600, 3600, 3600)
CLOSE = timedelta(seconds=10)  # to an instant in 7 hours, from which jitter would lead far away


@pytest.fixture
def service(sqlite_url: str) -> Iterator[Service]:
    one = Service(sqlite_url, capacity=1)
    yield one
    if not one.stopped:
        one.stop()
    # A poll that was abandoned still saves what it brings, and would open the store anew.
    assert one.idle()
    one.store.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    one = Gate()
    yield one
    one.free.set()


class Gate:
    """Polls that wait until they are let go, and who was in them at once."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.inside: list[str] = []
        self.seen: list[list[str]] = []
        self._turn = threading.Lock()

    def poll(
        self, key: str, batch: Batch | None = None, *, pause: float | None = None
    ) -> Callable[[], Batch]:
        """A poll of *key* that takes *pause* seconds, or until the gate opens."""

        def answer() -> Batch:
            with self._turn:
                self.inside.append(key)
                self.seen.append(list(self.inside))
            if pause is None:
                self.free.wait(PATIENCE)
            else:
                threading.Event().wait(pause)
            with self._turn:
                self.inside.remove(key)
            return batch or Batch()

        return answer

    @property
    def most(self) -> int:
        return max(map(len, self.seen))


def units(lane: str, *keys: str) -> list[Unit]:
    return [Unit(key, f"project {key}", lane=lane) for key in keys]


def lane_threads(name: str) -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith(f"{name}-")]


def restart(service: Service, *sources: Any) -> None:
    """A reload: *sources* in the place of those of the same name."""
    for source in sources:
        service.world.registry.replace(source)
    service.engine.replace(service.rounds(*sources))


# -- lanes do not delay each other ---------------------------------------------------------------


def test_a_lane_that_hangs_delays_neither_other_lanes_nor_units_without_one(
    service: Service, gate: Gate
) -> None:
    slow, fast = units("slow", "s1", "s2"), units("fast", "f1")
    source = service.source("fake", *slow, *fast, Unit("0", "no lane"))
    other = service.source("other", *units("slow", "o1"))
    source.answers = {one.key: [gate.poll(one.key)] for one in slow}
    service.start(source, other)
    wait_until(lambda: source.polls.count("f1") > 5, "polls of the fast lane")
    wait_until(lambda: source.polls.count("0") > 5, "polls without a lane")
    wait_until(lambda: len(other.polls) > 5, "polls of another collector's lane of that name")
    assert gate.inside == ["s1"], "one at a time unless the collector says more"
    gate.free.set()
    wait_until(lambda: source.polls.count("s2") > 1, "polls of the slow lane")


def test_units_without_a_lane_that_hang_delay_no_lane(service: Service, gate: Gate) -> None:
    source = service.source("fake", Unit("0", "no lane"), *units("fast", "f1"))
    source.answers["0"] = [gate.poll("0")]
    service.start(source)
    wait_until(lambda: source.polls.count("f1") > 5, "polls of the lane")
    assert gate.inside == ["0"]


@pytest.mark.parametrize("capacity", [1, 3])
def test_no_more_polls_of_a_lane_run_at_once_than_it_takes(
    service: Service, gate: Gate, capacity: int
) -> None:
    keys = [str(number) for number in range(8)]
    source = service.source("fake", *units("db", *keys), lane_capacity=lambda _self, lane: capacity)
    source.answers = {key: [gate.poll(key, pause=0.004)] for key in keys}
    service.start(source)
    wait_until(lambda: all(source.polls.count(key) > 3 for key in keys), "three polls of each")
    wait_until(lambda: gate.most >= capacity, "all workers at once")
    service.stop()
    assert gate.most == capacity
    assert all(len(set(seen)) == len(seen) for seen in gate.seen)


@pytest.mark.parametrize("capacity", [lambda *_: 0, lambda *_: -3, lambda *_: 1 / 0], ids=["0", "-3", "bug"])
def test_a_lane_always_has_a_worker_whatever_its_collector_says(
    service: Service, capacity: Callable[..., int]
) -> None:
    source = service.source("fake", *units("db", "1"), lane_capacity=capacity)
    discoveries: list[int] = []
    source.units = lambda: (discoveries.append(1), units("db", "1"))[1]
    service.start(source)
    wait_until(lambda: len(source.polls) > 3, "polls")
    wait_until(lambda: len(discoveries) > 2, "discoveries")


def test_a_unit_that_moves_to_another_lane_is_polled_there(service: Service) -> None:
    source = service.source("fake", *units("old", "1"))
    workers: list[str] = []
    source.answers["1"] = [lambda: (workers.append(threading.current_thread().name), Batch())[1]]
    service.start(source)
    wait_until(lambda: len(workers) > 1, "polls in the old lane")
    source.units = units("new", "1")
    wait_until(lambda: workers.count("fake-new-0") > 5, "polls in the new lane")
    assert workers == sorted(workers, reverse=True), "and in the old one no more"


# -- waking --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", ["", "db"])
def test_a_unit_that_is_woken_is_polled_now(service: Service, lane: str) -> None:
    source = service.source("fake", *units(lane, "1", "2"))
    source.timing = SELDOM
    service.start(source)
    wait_until(lambda: sorted(source.polls) == ["1", "2"], "first polls")
    wait_until(lambda: service.engine._scheduler.get_job("fake:2"), "the next turn of the woken one")
    service.engine.wake("fake", "2")
    wait_until(lambda: len(source.polls) == 3, "the poll")
    assert source.polls[2] == "2"


@pytest.mark.parametrize("lane", ["", "db"])
def test_a_unit_that_is_woken_while_it_is_polled_is_polled_once_more(
    service: Service, gate: Gate, lane: str
) -> None:
    source = service.source("fake", *units(lane, "1"), lane_capacity=lambda *_: 3)
    source.timing = SELDOM
    source.answers["1"] = [gate.poll("1"), gate.poll("1", pause=0)]
    service.start(source)
    wait_until(lambda: gate.inside, "the poll")
    for _ in range(20):
        service.engine.wake("fake", "1")
    threading.Event().wait(0.05)
    assert len(source.polls) == 1
    gate.free.set()
    wait_until(lambda: len(source.polls) == 2, "the poll afterwards")
    wait_until(lambda: not gate.inside, "its end")
    threading.Event().wait(0.1)
    assert len(source.polls) == 2, "once, however often it was woken"
    assert gate.most == 1
    wait_until(lambda: service.engine._scheduler.get_job("fake:1"), "and in its turn")


def test_waking_what_there_is_not_does_nothing(service: Service) -> None:
    source = service.source("fake", *units("db", "1"))
    source.timing = SELDOM
    service.engine.wake("fake", "1")
    service.engine.adopt(service.rounds(source))
    service.engine.wake("fake", "1")
    service.engine.start()
    wait_until(lambda: len(source.polls) == 1, "the first poll")
    service.engine.wake("fake", "2")
    service.engine.wake("other", "1")
    source.units = []
    service.engine.rounds["fake"].discover()
    service.engine.wake("fake", "1")
    threading.Event().wait(0.1)
    assert len(source.polls) == 1
    service.stop()
    service.engine.wake("fake", "1")
    assert lane_threads("fake-db") == [] or not any(one.is_alive() for one in _ended(lane_threads("fake-db")))


def _ended(threads: list[threading.Thread]) -> list[threading.Thread]:
    for one in threads:
        one.join(PATIENCE)
    return threads


def test_waking_while_another_process_polls_does_nothing(service: Service, tmp_path: Path) -> None:
    lease = FileLease(tmp_path / "store.db")
    assert lease.acquire()
    source = service.source("fake", *units("db", "1"))
    service.start(source)
    service.engine.rounds["fake"].discover()
    assert service.engine.rounds["fake"].state("1")
    service.engine.wake("fake", "1")
    threading.Event().wait(0.1)
    lease.release()
    assert source.polls == []


def test_a_unit_is_woken_by_many_threads_without_a_poll_too_many(service: Service, gate: Gate) -> None:
    keys = [str(number) for number in range(4)]
    source = service.source("fake", *units("db", *keys), lane_capacity=lambda *_: 4)
    source.timing = SELDOM
    source.answers = {key: [gate.poll(key, pause=0.001)] for key in keys}
    service.start(source)
    wait_until(lambda: len(source.polls) >= 4, "first polls")

    def wake() -> None:
        for _ in range(100):
            for key in keys:
                service.engine.wake("fake", key)

    threads = [threading.Thread(target=wake) for _ in range(4)]
    for one in threads:
        one.start()
    _ended(threads)
    wait_until(lambda: len(source.polls) > 4, "the polls that they were woken for")
    service.stop()
    assert all(len(set(seen)) == len(seen) for seen in gate.seen)


# -- exact times ---------------------------------------------------------------------------------


def planned(service: Service, job: str = "fake:1") -> datetime:
    wait_until(lambda: service.engine._scheduler.get_job(job), "the next turn")
    found: datetime = service.engine._scheduler.get_job(job).next_run_time
    return found


def test_a_named_instant_is_kept_without_jitter(service: Service) -> None:
    instant = service.world.clock.now() + timedelta(hours=7)
    source = service.source("fake", *units("db", "1"), next_poll=lambda _self, unit, now: instant)
    service.start(source)
    assert abs(planned(service) - instant) < CLOSE


@pytest.mark.parametrize(
    "next_poll",
    [lambda *_: 1 / 0, lambda *_: datetime(2026, 1, 1), lambda *_: None],  # noqa: DTZ001
)
def test_a_unit_whose_next_poll_cannot_be_told_is_polled_as_its_schedule_says(
    service: Service, next_poll: Callable[..., Any]
) -> None:
    source = service.source("fake", *units("db", "1"), next_poll=next_poll)
    service.start(source)
    wait_until(lambda: len(source.polls) > 3, "polls")


def test_an_instant_is_for_after_a_success_and_a_failure_is_retried_soon(service: Service) -> None:
    instant = service.world.clock.now() + timedelta(hours=7)
    source = service.source("fake", *units("db", "1"), next_poll=lambda _self, unit, now: instant)
    source.timing = Schedule(3600, 3600, 3600, retry=0.01)
    source.answers["1"] = [SourceError("down"), SourceError("down"), SourceError("down"), Batch()]
    service.start(source)
    wait_until(lambda: len(source.polls) == 4, "three retries")
    assert abs(planned(service) - instant) < CLOSE


def test_an_instant_that_has_passed_means_now(service: Service) -> None:
    source = service.source("fake", *units("db", "1"), next_poll=lambda _s, _u, now: now - timedelta(days=1))
    source.timing = SELDOM
    service.start(source)
    wait_until(lambda: len(source.polls) > 3, "polls")


# -- stop, reload, standing by -------------------------------------------------------------------


def test_stopping_waits_for_the_polls_of_lanes_and_no_longer_than_allowed(
    service: Service, gate: Gate
) -> None:
    source = service.source("fake", *units("a", "a1"), *units("b", "b1"), Unit("0", "no lane"))
    source.answers = {key: [gate.poll(key)] for key in ("a1", "b1", "0")}
    service.start(source)
    wait_until(lambda: len(gate.inside) == 3, "polls everywhere")
    started = time.monotonic()
    assert service.engine.stop(0.2) is False
    assert time.monotonic() - started < PATIENCE / 2, "it gave up long before the polls"
    service.stopped = True


def test_polls_of_lanes_that_heed_the_stop_end_with_it(service: Service) -> None:
    begun = threading.Barrier(3, timeout=PATIENCE)

    def slow() -> Batch:
        begun.wait()
        service.world.stopping.wait(PATIENCE)
        raise Stopped("stopping")

    source = service.source("fake", *units("a", "a1"), *units("b", "b1"))
    source.answers = {"a1": [slow], "b1": [slow]}
    service.start(source)
    begun.wait()
    assert service.stop()
    for worker in lane_threads("fake-a") + lane_threads("fake-b"):
        worker.join(PATIENCE)
        assert not worker.is_alive()


def test_a_discovery_that_ends_after_the_stop_leaves_no_worker(service: Service, gate: Gate) -> None:
    source = service.source("fake")
    source.units = lambda: (gate.poll("discovery")(), units("late", "1"))[1]
    service.start(source)
    wait_until(lambda: gate.inside, "the discovery")
    assert service.engine.stop(0.01) is False
    service.stopped = True
    gate.free.set()
    assert service.idle()
    assert not any(one.is_alive() for one in _ended(lane_threads("fake-late")))
    assert source.polls == []


def test_a_reload_never_polls_a_unit_twice_at_once(service: Service, gate: Gate) -> None:
    def source() -> Any:
        made = service.source("fake", *units("db", "1", "2"), lane_capacity=lambda *_: 4)
        made.answers = {key: [gate.poll(key, pause=0.01)] for key in "12"}
        return made

    service.start(source())
    for _ in range(30):
        threading.Event().wait(0.01)
        last = source()
        restart(service, last)
    wait_until(lambda: min(last.polls.count(key) for key in "12") > 2, "polls by the last")
    service.stop()
    assert all(len(set(seen)) == len(seen) for seen in gate.seen)


def test_a_poll_of_before_the_reload_holds_up_its_unit_only(service: Service, gate: Gate) -> None:
    old = service.source("fake", *units("db", "1", "2"), lane_capacity=lambda *_: 2)
    old.answers["1"] = [gate.poll("1")]
    service.start(old)
    wait_until(lambda: gate.inside and old.polls.count("2") > 1, "polls")
    new = service.source("fake", *units("db", "1", "2"), lane_capacity=lambda *_: 2)
    restart(service, new)
    wait_until(lambda: new.polls.count("2") > 3, "polls of the other unit")
    assert new.polls.count("1") == 0
    gate.free.set()
    wait_until(lambda: new.polls.count("1") > 3, "polls of the unit")


def test_a_reload_can_make_a_lane_smaller_and_larger(service: Service, gate: Gate) -> None:
    keys = [str(number) for number in range(8)]
    for capacity in (4, 1, 3):
        seen = Gate()
        source = service.source("fake", *units("db", *keys), lane_capacity=lambda *_, n=capacity: n)
        source.answers = {key: [seen.poll(key, pause=0.003)] for key in keys}
        if capacity == 4:
            service.start(source)
        else:
            restart(service, source)
        wait_until(lambda source=source: all(source.polls.count(key) > 2 for key in keys), "polls of each")  # type: ignore[misc]
        wait_until(lambda seen=seen, wanted=capacity: seen.most >= wanted, "all workers at once")  # type: ignore[misc]
        assert seen.most == capacity


def test_threads_do_not_pile_up_over_reloads(service: Service) -> None:
    def source(number: int) -> Any:
        lanes = [*units("same", "1"), *units(f"lane{number}", "2")]
        return service.source("fake", *lanes, lane_capacity=lambda *_: 2)

    service.start(source(0))
    for number in range(1, 51):
        last = source(number)
        restart(service, last)
        if number % 10 == 0:
            wait_until(lambda: {"1", "2"} <= set(last.polls), "polls of both lanes")  # noqa: B023
    wait_until(lambda: {"1", "2"} <= set(last.polls), "polls of both lanes")
    wait_until(lambda: len(lane_threads("fake")) == 4, "the end of threads of lanes that are gone")
    service.world.registry.discard("fake")
    service.engine.replace([])
    wait_until(lambda: lane_threads("fake") == [], "the end of all lanes of a collector that is gone")


def test_a_poll_that_ends_while_standing_by_shows_nothing(
    service: Service, gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_STANDBY_SECONDS", 0.05)
    source: Any = service.world.build(Kept)
    source.timing = FAST
    source.units = units("db", "1")
    source.answers["1"] = [gate.poll("1", Batch(samples={DEPTH: [Sample(("q",), 5.0)]}))]
    service.start(source)
    wait_until(lambda: gate.inside, "the poll")
    other = FileLease(tmp_path / "store.db")
    wait_until(lambda: (service.engine._lease.release(), other.acquire())[1], "the lease for another process")
    wait_until(lambda: value(service.world, "ci_exporter_leader") == 0, "standing by")
    gate.free.set()
    wait_until(lambda: not gate.inside, "the end of the poll")
    assert service.idle("kept")
    assert "ci_depth{" not in service.text()
    other.release()
    wait_until(lambda: "ci_depth{" in service.text(), "the samples once it leads again")


def test_a_store_that_does_not_answer_pauses_the_polls_and_hides_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scheduler, "_STANDBY_SECONDS", 0.05)
    source: Any = service.world.build(Kept)
    source.timing = FAST
    source.units = units("db", "1")
    source.answers["1"] = [Batch(samples={DEPTH: [Sample(("q",), 5.0)]})]
    service.start(source)
    wait_until(lambda: "ci_depth{" in service.text() and not service.engine.not_ready(), "the first round")
    with monkeypatch.context() as away:

        def acquire(_lease: FileLease) -> bool:
            raise LeaseUnknown("the store does not answer")

        away.setattr(FileLease, "acquire", acquire)
        wait_until(lambda: value(service.world, "ci_exporter_leader") == 0, "the pause")
        assert "ci_depth{" in service.text()
        assert service.engine.not_ready() is None, "what was shown can still be scraped"
        assert service.idle(source.name)
        before = len(source.polls)
    wait_until(lambda: len(source.polls) > before, "polls once it answers")
    assert [record.message for record in caplog.records].count("polling pauses") == 1
    assert value(service.world, "ci_exporter_leader") == 1


def test_a_unit_whose_poll_ends_during_a_discovery_is_polled_again(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The discovery books its units while polls end; a poll must always find its own."""
    source = service.source("fake", *units("db", "1"))
    found: list[bool] = []

    def schedule_of(_self: Any, unit: Unit) -> Schedule:
        state = service.engine.rounds["fake"].state("1")
        found.append(unit.key == "1" or bool(state and service.engine.rounds["fake"].is_current(state)))
        if unit.key == "3":
            raise RuntimeError("a bug")
        return FAST

    monkeypatch.setattr(type(source), "schedule_of", schedule_of)
    service.start(source)
    wait_until(lambda: source.polls, "a poll")
    source.units = units("db", "2", "1")
    wait_until(lambda: "2" in source.polls, "a poll of the new unit")
    with caplog.at_level(logging.CRITICAL):
        source.units = units("db", "3", "1", "2")
        wait_until(lambda: len(found) > 4, "discoveries that fail")
        before = len(source.polls)
        wait_until(lambda: {"1", "2"} <= set(source.polls[before:]), "polls of those that are known")
    assert all(found)
