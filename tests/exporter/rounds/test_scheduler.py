"""The engine with its real scheduler: polls again and again, hands over, reloads, stops at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from exporter.contract import Batch, Schedule, Trouble, Unit
from exporter.errors import SourceError, Stopped, StoreError, Unauthorized, UnitUnavailable
from exporter.model.events import Entry, Event
from exporter.rounds import scheduler
from exporter.store.lease import FileLease
from tests.support.engine import ONE, TWO, Service, wait_until
from tests.support.fakes import run, value
from tests.support.process import PATIENCE

Start = Callable[..., Service]


@pytest.fixture
def url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def service(url: str) -> Iterator[Start]:
    services: list[Service] = []

    def make(url: str = url, **options: Any) -> Service:
        services.append(Service(url, **options))
        return services[-1]

    yield make
    for one in services:
        if not one.stopped:
            one.stop()
        one.store.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maintenance in milliseconds instead of seconds."""
    for name in ("_STANDBY_SECONDS", "_FOLLOW_SECONDS", "_RESUME_SECONDS"):
        monkeypatch.setattr(scheduler, name, 0.05)


def test_units_are_polled_again_and_again(service: Start) -> None:
    one = service()
    source = one.source("fake", ONE, TWO)
    source.answers["1"] = [Batch(runs=(run(7),)), Batch()]
    one.start(source)
    wait_until(lambda: min(source.polls.count(key) for key in "12") > 5, "five polls of each")
    assert 'ci_pipeline_last_run_id{pipeline="",project="group/app"' in one.text()
    assert one.engine.not_ready() is None
    assert value(one.world, "ci_exporter_leader") == 1


def test_no_more_polls_run_at_once_than_the_capacity_and_none_of_one_unit_twice(service: Start) -> None:
    one = service(capacity=3)
    turn, active, most = threading.Lock(), [], []
    units = [Unit(str(number), f"p{number}") for number in range(9)]
    source = one.source("fake", *units)

    def poll(key: str) -> Callable[[], Batch]:
        def answer() -> Batch:
            with turn:
                active.append(key)
                most.append(list(active))
            threading.Event().wait(0.002)
            with turn:
                active.remove(key)
            return Batch()

        return answer

    source.answers = {unit.key: [poll(unit.key)] for unit in units}
    one.start(source)
    wait_until(lambda: all(source.polls.count(unit.key) > 3 for unit in units), "three polls of each")
    wait_until(lambda: max(map(len, most)) >= 3, "all workers at once")
    one.stop()
    assert max(map(len, most)) == 3
    assert all(len(set(seen)) == len(seen) for seen in most)


def test_news_that_waits_is_fetched_without_a_pause(service: Start) -> None:
    one = service()
    source = one.source()
    source.timing = Schedule(3600, 3600, 3600)
    source.answers["1"] = [Batch(runs=(run(number),), more=number < 5) for number in range(1, 6)]
    one.start(source)
    wait_until(lambda: len(source.polls) == 5, "five polls in a row")
    wait_until(lambda: one.engine.not_ready() is None, "readiness")


def test_the_wait_that_a_source_asks_for_is_kept(service: Start) -> None:
    one = service()
    source = one.source("fake", ONE, TWO)
    source.answers["1"] = [SourceError("slow down", retry_after=3600)]
    one.start(source)
    wait_until(lambda: source.polls.count("2") > 5, "polls of the other unit")
    assert source.polls.count("1") == 1
    wait_until(lambda: one.engine._scheduler.get_job("fake:1"), "the next turn of the first unit")
    waiting = one.engine._scheduler.get_job("fake:1")
    assert (waiting.next_run_time - one.world.clock.now()).total_seconds() > 3500


def test_the_wait_that_a_source_asks_for_holds_for_discovery_too(service: Start) -> None:
    one = service()
    source = one.source()
    source.units = SourceError("slow down", retry_after=7200)
    one.start(source)
    wait_until(lambda: one.engine._scheduler.get_job("fake:/discover"), "the next discovery")
    waiting = one.engine._scheduler.get_job("fake:/discover")
    assert (waiting.next_run_time - one.world.clock.now()).total_seconds() > 7100
    assert one.engine.not_ready() == "fake: slow down"


@pytest.mark.parametrize(
    "failure", [RuntimeError("a bug"), SourceError("down"), UnitUnavailable("odd", "no such reason")]
)
def test_whatever_a_poll_raises_the_workers_and_the_unit_go_on(service: Start, failure: Exception) -> None:
    one = service(capacity=1)
    source = one.source("fake", ONE, TWO)
    source.answers["1"] = [failure] * 3 + [Batch(runs=(run(7),)), Batch()]
    one.start(source)
    wait_until(lambda: 'ci_pipeline_last_run_id{pipeline="",project="group/app"' in one.text(), "a good poll")
    assert source.polls.count("2") > 0


@pytest.mark.parametrize("failure", [RuntimeError("a bug"), SourceError("down")])
def test_a_discovery_that_fails_is_tried_again(service: Start, failure: Exception) -> None:
    one = service()
    source = one.source()
    failures = [failure, failure]

    def units() -> list[Unit]:
        if failures:
            raise failures.pop()
        return [ONE]

    source.units = units
    one.start(source)
    wait_until(lambda: len(source.polls) > 2, "polls after two failed discoveries")


def test_refused_credentials_end_the_polls_until_they_change(service: Start, quick: None) -> None:
    one = service()
    source = one.source("fake", ONE, TWO)
    other = one.source("other")
    source.answers["1"] = [Batch(), Unauthorized("401")]
    one.start(source, other)
    wait_until(lambda: one.engine.rounds["fake"].halted, "the halt")
    assert one.idle("fake")
    before, others = len(source.polls), len(other.polls)
    wait_until(lambda: len(other.polls) > others + 5, "polls of the other collector")
    assert len(source.polls) == before
    source.answers["1"] = [Batch()]
    source.may_ask_again = RuntimeError("the token file is not there just now")
    wait_until(lambda: len(other.polls) > others + 20, "more polls of the other collector")
    # The first discovery after the change fails, too: the units must still come back.
    source.units = [lambda: None]
    failures: list[Exception] = [SourceError("down")]

    def units() -> list[Unit]:
        if failures:
            raise failures.pop()
        return [ONE, TWO]

    source.units = units
    source.may_ask_again = True
    wait_until(lambda: min(source.polls[before:].count(key) for key in "12") > 1, "polls of both units")


def test_a_second_process_stands_by_follows_and_takes_over(service: Start, url: str, quick: None) -> None:
    leader, follower = service(url), service(url)
    first, second = leader.source(), follower.source()
    first.answers["1"] = [Batch(runs=(run(7),)), Batch()]
    leader.start(first)
    follower.start(second)
    assert follower.engine.not_ready() is None
    assert (value(leader.world, "ci_exporter_leader"), value(follower.world, "ci_exporter_leader")) == (1, 0)
    wait_until(lambda: "last_run_id{" in follower.text(), "the follower's view of what the leader saved")
    assert second.polls == []
    assert leader.stop()
    wait_until(lambda: len(second.polls) > 2, "polls of the new leader")
    assert value(follower.world, "ci_exporter_leader") == 1
    assert follower.engine.not_ready() is None


def test_a_leader_that_lost_its_lease_polls_again_when_it_has_it_back(
    service: Start, url: str, quick: None
) -> None:
    one = service(url)
    source = one.source("fake", ONE, TWO)
    one.start(source)
    wait_until(lambda: min(source.polls.count(key) for key in "12") > 1, "polls")
    other = FileLease(Path(url.removeprefix("sqlite:///")))
    # Given back again and again: the engine itself may be the first to take it.
    wait_until(lambda: (one.engine._lease.release(), other.acquire())[1], "the lease for another process")
    wait_until(lambda: value(one.world, "ci_exporter_leader") == 0, "standing by")
    assert one.idle("fake")
    before = len(source.polls)
    other.release()
    wait_until(lambda: min(source.polls[before:].count(key) for key in "12") > 1, "polls of known units")


def test_a_failing_store_does_not_end_the_watch_over_the_lease(
    service: Start, url: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, follower = service(url), service(url)
    leader.start(leader.source())
    second = follower.source()
    follower.start(second)
    failed = threading.Event()

    def fail(*_: object) -> None:
        failed.set()
        raise StoreError("the disk reports an error")

    with monkeypatch.context() as patch:
        patch.setattr(follower.store, "versions", fail)
        assert failed.wait(PATIENCE)
        leader.stop()
        wait_until(lambda: value(follower.world, "ci_exporter_leader") == 1, "the lease")
    wait_until(lambda: len(second.polls) > 1, "polls once the store works")


def test_maintenance_goes_before_thousands_of_first_polls(service: Start, quick: None) -> None:
    one = service(capacity=1)
    source = one.source("fake", *[Unit(str(number), f"p{number}") for number in range(300)])
    seen: list[int] = []
    follow = one.engine._follow
    one.engine._follow = lambda: (seen.append(len(source.polls)), follow())[1]  # type: ignore[method-assign]
    source.answers = {
        unit.key: [lambda: (threading.Event().wait(0.003) and None) or Batch()] for unit in source.units
    }
    one.start(source)
    wait_until(lambda: sum(polls > 0 for polls in seen) > 2, "the watch, again and again")
    assert [polls for polls in seen if polls > 0][2] < 300


def test_dead_letters_are_deleted_after_their_time(service: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "_FIRST_PRUNE_SECONDS", 0)
    one = service()
    event = Event("forge", "h/1", "https://h/1", "com.h.pushed", "1", one.world.clock.now(), "1", b"{}")
    for position, days in ((1, 399), (2, 401)):
        buried_at = one.world.clock.now() - timedelta(days=days)
        one.store.outbox.bury("kafka", Entry(position, event), "too large", buried_at)
    one.start(one.source())
    wait_until(lambda: one.store.outbox.buried("kafka") == 1, "one is left")


def test_stopping_waits_for_polls_that_heed_it(service: Start) -> None:
    one = service()
    source = one.source()
    begun = threading.Event()

    def slow() -> Batch:
        begun.set()
        one.world.stopping.wait(PATIENCE)
        raise Stopped("stopping")

    source.answers["1"] = [slow]
    one.start(source)
    assert begun.wait(PATIENCE)
    started = time.monotonic()
    assert one.stop()
    assert time.monotonic() - started < PATIENCE / 2
    for worker in [one for one in threading.enumerate() if one.name.startswith("poll-")]:
        worker.join(PATIENCE)
        assert not worker.is_alive()


def test_stopping_does_not_wait_for_ever_for_a_poll_that_hangs(service: Start) -> None:
    one = service()
    source = one.source()
    begun, free = threading.Event(), threading.Event()
    source.answers["1"] = [lambda: (begun.set(), free.wait(PATIENCE), Batch())[2]]
    one.start(source)
    assert begun.wait(PATIENCE)
    assert one.engine.stop(0.05) is False
    one.stopped = True
    free.set()
    assert one.idle()


def test_stopping_while_a_unit_comes_due_ends_the_schedule_quietly(service: Start) -> None:
    one = service()
    begun = threading.Event()

    def come_due() -> None:
        begun.set()
        wait_until(lambda: not one.engine._scheduler.running, "the stop")

    one.start()
    # Runs on the scheduler's thread, whose traceback would fail the test.
    one.engine._at("fake:1", 0, come_due)
    assert begun.wait(PATIENCE)
    assert one.stop()


def test_an_engine_that_never_started_can_be_stopped(service: Start) -> None:
    assert service().stop()


def test_a_reload_keeps_the_series_and_goes_on_with_the_new_collectors(service: Start) -> None:
    one = service()
    old = one.source()
    begun, free = threading.Event(), threading.Event()
    old.answers["1"] = [
        Batch(runs=(run(7),)),
        lambda: (begun.set(), free.wait(PATIENCE), Batch(runs=(run(8),)))[2],
    ]
    one.start(old)
    assert begun.wait(PATIENCE)
    new, added = one.source("fake", ONE, TWO), one.source("added", provider="other")
    new.answers["1"] = [Batch(runs=(run(9),)), Batch()]
    one.world.registry.replace(new)
    one.world.registry.add(added)
    one.engine.replace(one.rounds(new, added))
    assert "last_run_id{" in one.text()
    assert one.engine.not_ready() is None or "added" in (one.engine.not_ready() or "")
    wait_until(lambda: added.polls, "a poll of the added collector")
    free.set()
    wait_until(lambda: min(new.polls.count(key) for key in "12") > 2, "polls by the new collector")
    polls = len(old.polls)
    wait_until(lambda: len(new.polls) > 20, "more polls")
    assert len(old.polls) == polls
    wait_until(lambda: one.engine.not_ready() is None, "readiness")
    newest = 'ci_pipeline_last_run_id{pipeline="",project="group/app",provider="fake"'
    lines = [line for line in one.text().splitlines() if line.startswith(newest)]
    assert [line.rpartition(" ")[2] for line in lines] == ["9.0"]


def test_a_store_that_fails_during_a_reload_does_not_end_the_polls(
    service: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = service()
    old, new = one.source(), one.source()
    one.start(old)
    wait_until(lambda: old.polls, "a poll")

    def fail(*_: object) -> None:
        raise StoreError("locked")

    with monkeypatch.context() as patch:
        patch.setattr(one.store, "versions", fail)
        one.engine.replace(one.rounds(new))
    wait_until(lambda: len(new.polls) > 2, "polls by the new collector")


def test_ready_once_means_ready_for_good(service: Start) -> None:
    one = service()
    source = one.source()
    assert one.engine.not_ready() == "starting"
    one.start(source)
    wait_until(lambda: one.engine.not_ready() is None, "readiness")
    source.answers["2"] = [SourceError("down")]
    source.units = [ONE, TWO]
    wait_until(lambda: "2" in source.polls, "a poll of the new unit")
    assert one.engine.not_ready() is None
    source.answers["1"] = [Unauthorized("401")]
    wait_until(lambda: one.engine.rounds["fake"].halted, "the halt")
    assert one.engine.not_ready() is None
    assert "401" in (one.engine.rounds["fake"].not_ready() or "")


def test_troubles_of_all_collectors_are_shown(service: Start) -> None:
    one = service()
    source = one.source()
    source.answers["1"] = [UnitUnavailable("403", "forbidden")]
    one.start(source)
    wait_until(lambda: one.engine.troubles(), "the trouble")
    labels = dict(collector="fake", project="group/app", reason=Trouble.FORBIDDEN.value)
    assert value(one.world, "ci_exporter_project_problem", **labels) == 1


def test_the_scheduler_comes_round_until_it_is_stopped(service: Start) -> None:
    one = service()
    one.start(one.source())
    assert one.engine.turns(60)
    one.stop()
    assert not one.engine.turns(0)


def test_a_scheduler_that_hangs_is_told_and_holds_up_nobody(service: Start) -> None:
    one = service()
    one.start(one.source())
    hanging, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        go_on.wait(PATIENCE)

    one.engine._at("hang", 0, hang)
    assert hanging.wait(PATIENCE)
    assert not one.engine.turns(0.05)
    go_on.set()
    assert one.engine.turns(PATIENCE)
