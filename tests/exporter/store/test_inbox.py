"""The inbox of hooks, on SQLite and PostgreSQL, and the intake in front of it."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.clock import FixedClock
from exporter.errors import StoreError
from exporter.hookmetrics import HookMetrics
from exporter.hooks import Hook
from exporter.store import inbox as inbox_module
from exporter.store import intake as intake_module
from exporter.store.inbox import REMEMBERED, Arrived, Inbox, Queued, digest_of
from exporter.store.intake import Intake, Outcome
from exporter.store.room import Room
from exporter.store.sql import SqlStore
from tests.support.engine import wait_until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALL: dict[str, Any] = {"limit": 100, "size": 10**9}


def arrived(number: int, collector: str = "forge", *, at: datetime = NOW, body: bytes = b"") -> Arrived:
    hook = Hook({"x-event": "run", "x-odd": "\udcff\x00"}, body or b"%d" % number, at)
    return Arrived(collector, digest_of(collector, hook, f"id-{number}"), hook)


def bodies(inbox: Inbox, collector: str = "forge", now: datetime = NOW, **bounds: int) -> list[bytes]:
    return [one.hook.body for one in inbox.read(collector, now, **(ALL | bounds))]


@pytest.fixture
def inbox(store: SqlStore) -> Inbox:
    return store.inbox()


def test_hooks_are_kept_as_they_came_in_their_order_until_they_are_removed(inbox: Inbox) -> None:
    inbox.add([arrived(2), arrived(1)])
    inbox.add([arrived(9, "mill"), arrived(3)])
    waiting = inbox.read("forge", NOW, **ALL)
    assert [(one.hook, one.tries) for one in waiting] == [(arrived(number).hook, 0) for number in (2, 1, 3)]
    inbox.remove([one.number for one in waiting[:2]])
    assert (bodies(inbox), bodies(inbox, "mill")) == ([b"3"], [b"9"])


def test_a_repetition_is_known_also_by_another_process_and_after_it_was_read(
    inbox: Inbox, open_store: Callable[[], SqlStore]
) -> None:
    assert inbox.add([arrived(1), arrived(2), arrived(1)]) == [True, True, False]
    inbox.remove([one.number for one in inbox.read("forge", NOW, **ALL)])
    assert open_store().inbox().add([arrived(2), arrived(3)]) == [False, True]
    # Those of another collector are other hooks, whatever their id.
    assert inbox.add([arrived(1, "mill")]) == [True]


def test_a_hook_without_an_id_is_known_by_its_body() -> None:
    one, same, other = (Hook({"x": str(index)}, body, NOW) for index, body in enumerate((b"a", b"a", b"b")))
    assert digest_of("forge", one, "") == digest_of("forge", same, "") != digest_of("forge", other, "")
    assert digest_of("forge", one, "a") != digest_of("forge", one, "")


def test_hooks_are_remembered_for_a_day_and_no_longer(inbox: Inbox) -> None:
    inbox.add([arrived(1), arrived(2, at=NOW + timedelta(hours=2))])
    assert inbox.forget(NOW + timedelta(hours=24)) == 0
    assert inbox.forget(NOW + REMEMBERED + timedelta(seconds=1)) == 1
    assert inbox.add([arrived(1), arrived(2)]) == [True, False]


def test_no_more_than_so_many_hooks_are_remembered_and_the_oldest_go_first(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "REMEMBERED_AT_MOST", 3)
    old = [arrived(number, at=NOW + timedelta(microseconds=number)) for number in (4, 2, 5, 1, 3)]
    inbox.add(old[:3])
    assert inbox.forget(NOW) == 0
    inbox.add(old[3:])
    assert [inbox.forget(NOW), inbox.forget(NOW)] == [2, 0]
    # They may be read all the same, and so may their repetitions.
    assert len(bodies(inbox, now=NOW + timedelta(seconds=1))) == 5
    assert inbox.add([arrived(number) for number in range(1, 6)]) == [True, True, False, False, False]


def test_a_hook_that_was_of_no_use_may_come_again(inbox: Inbox) -> None:
    inbox.add([arrived(1), arrived(2)])
    one, two = inbox.read("forge", NOW, **ALL)
    inbox.remove([one.number, two.number], [one.digest])
    assert inbox.add([arrived(1), arrived(2)]) == [True, False]


def test_no_more_is_read_at_once_than_fits_but_always_something(inbox: Inbox) -> None:
    inbox.add([arrived(number, body=bytes([number]) * 1000) for number in range(1, 5)])
    assert len(bodies(inbox, limit=3)) == 3
    assert len(bodies(inbox, size=2500)) == 2
    assert len(bodies(inbox, size=1)) == 1


def test_a_postponed_hook_holds_up_no_other(inbox: Inbox) -> None:
    inbox.add([arrived(1), arrived(2)])
    inbox.postpone(inbox.read("forge", NOW, **ALL)[0].number, NOW + timedelta(seconds=60))
    assert bodies(inbox) == [b"2"]
    later = inbox.read("forge", NOW + timedelta(seconds=60), **ALL)
    assert [(one.hook.body, one.tries) for one in later] == [(b"1", 1), (b"2", 0)]


def test_the_queue_is_measured(inbox: Inbox) -> None:
    assert inbox.queued() == {}
    first = NOW - timedelta(seconds=5)
    added = [arrived(1, at=first), arrived(2), arrived(3, "mill")]
    inbox.add(added)
    assert inbox.queued() == {
        "forge": (2, added[0].size + added[1].size, first),
        "mill": (1, added[2].size, NOW),
    }


def test_what_nobody_will_read_is_discarded_once_it_is_old(inbox: Inbox) -> None:
    inbox.add([arrived(1), arrived(2, "mill"), arrived(3, "gone"), arrived(4, "gone", at=NOW - REMEMBERED)])
    assert inbox.discard(["forge", "mill"], NOW) == 1
    assert inbox.queued().keys() == {"forge", "mill", "gone"}


def test_adding_rings_whoever_reads_unless_all_was_known(inbox: Inbox) -> None:
    inbox.add([arrived(1)])
    assert inbox.bell.is_set()
    inbox.bell.clear()
    inbox.add([arrived(1)])
    assert not inbox.bell.is_set()


# -- the file of SQLite


def test_hooks_of_an_sqlite_store_lie_in_a_file_beside_it_and_do_not_wait_for_its_writers(
    sqlite_url: str, tmp_path: Path
) -> None:
    store = SqlStore(sqlite_url)
    writer = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert store.inbox().add([arrived(1)]) == [True]
    writer.execute("ROLLBACK")
    writer.close()
    assert (tmp_path / "store-hooks.db").exists()
    store.close()


def test_others_cannot_read_what_hooks_hold(sqlite_url: str, tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        store = SqlStore(sqlite_url)
        store.inbox().add([arrived(1)])
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.glob("store-hooks.db*")}
        store.close()
    finally:
        os.umask(umask)
    assert len(modes) == 3
    assert set(modes.values()) == {0o600}


def test_tidying_moves_the_log_into_the_file(sqlite_url: str, tmp_path: Path) -> None:
    store = SqlStore(sqlite_url)
    inbox = store.inbox()
    inbox.add([arrived(1, body=b"x" * 100_000)])
    before = (tmp_path / "store-hooks.db").stat().st_size
    inbox.tidy()
    assert (tmp_path / "store-hooks.db").stat().st_size > before + 90_000
    store.close()


def test_a_file_of_a_newer_version_is_left_alone(sqlite_url: str, tmp_path: Path) -> None:
    store = SqlStore(sqlite_url)
    with sqlite3.connect(tmp_path / "store-hooks.db") as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="written by a newer version"):
        store.inbox()
    store.close()


def test_an_inbox_in_memory_ends_with_its_store() -> None:
    store = SqlStore("sqlite://")
    inbox = store.inbox()
    inbox.add([arrived(1)])
    inbox.tidy()
    assert bodies(inbox) == [b"1"]
    store.close()


# -- the intake


class Desk:
    """An intake, and how what was offered ended."""

    def __init__(self, inbox: Inbox, room: Room, *others: str) -> None:
        self.registry = CollectorRegistry()
        self.ended: list[Outcome] = []
        self._heard = threading.Condition()
        metrics = HookMetrics(self.registry)
        self.intake = Intake(inbox, room, metrics, FixedClock(NOW), lambda: ["forge", *others])

    def hear(self, outcome: Outcome) -> None:
        with self._heard:
            self.ended.append(outcome)
            self._heard.notify_all()

    def offer(self, *hooks: Arrived) -> list[Outcome]:
        """How the attempt to keep *hooks* ended."""
        for one in hooks:
            self.intake.offer(one, self.hear)
        with self._heard:
            assert self._heard.wait_for(lambda: len(self.ended) == len(hooks), 30)
            ended, self.ended = self.ended, []
            return ended

    def value(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"ci_exporter_hooks_{name}", {"collector": "forge"})


@pytest.fixture
def make_desk(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Desk]]:
    monkeypatch.setattr(intake_module, "_LOOK_SECONDS", 0.01)
    with ExitStack() as stack:

        def make(*others: str, hooks: int = 100, size: int = 10**9) -> Desk:
            desk = Desk(inbox, Room(hooks, size), *others)
            desk.intake.start()
            stack.callback(lambda: desk.intake.stop(30))
            return desk

        yield make


def test_who_offers_learns_whether_it_is_kept_or_came_before(
    make_desk: Callable[..., Desk], inbox: Inbox
) -> None:
    desk = make_desk()
    assert desk.offer(arrived(1)) == [Outcome.KEPT]
    assert sorted(desk.offer(arrived(1), arrived(2)), key=str) == [Outcome.KEPT, Outcome.KNOWN]
    assert bodies(inbox) == [b"1", b"2"]


@pytest.mark.parametrize("room", [{"hooks": 2}, {"size": 2 * arrived(1).size}])
def test_a_full_queue_takes_no_more_until_something_is_read(
    make_desk: Callable[..., Desk], inbox: Inbox, room: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "_LOOK_SECONDS", 3600)  # measured only when we say so
    desk = make_desk(**room)
    outcomes = desk.offer(arrived(1)) + desk.offer(arrived(2)) + desk.offer(arrived(3))
    assert outcomes == [Outcome.KEPT, Outcome.KEPT, Outcome.NO_ROOM]
    inbox.remove([one.number for one in inbox.read("forge", NOW, **ALL)])
    desk.intake._measure()
    assert desk.offer(arrived(3)) == [Outcome.KEPT]


def test_a_flood_for_one_collector_leaves_room_for_the_others(
    make_desk: Callable[..., Desk], inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "_LOOK_SECONDS", 3600)
    desk = make_desk("mill", hooks=12)
    kept = desk.offer(*(arrived(number) for number in range(20)))
    assert kept == [Outcome.KEPT] * 9 + [Outcome.NO_ROOM] * 11
    inbox.remove([inbox.read("forge", NOW, **ALL)[0].number])
    desk.intake._measure()
    # Of the quarter that is its own, however full the rest is.
    assert desk.offer(arrived(1, "mill")) == [Outcome.KEPT]
    assert desk.offer(arrived(20), arrived(21)) == [Outcome.KEPT, Outcome.NO_ROOM]
    assert desk.offer(arrived(2, "mill"), arrived(3, "mill"), arrived(4, "mill")) == [
        Outcome.KEPT,
        Outcome.KEPT,
        Outcome.NO_ROOM,
    ]


def test_what_comes_while_the_queue_is_measured_takes_room(
    make_desk: Callable[..., Desk], inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "_LOOK_SECONDS", 3600)
    desk = make_desk(hooks=1)
    before = inbox.queued()

    def too_late() -> dict[str, Queued]:
        assert desk.offer(arrived(1)) == [Outcome.KEPT]
        return before

    monkeypatch.setattr(inbox, "queued", too_late)
    desk.intake._measure()
    assert desk.offer(arrived(2)) == [Outcome.NO_ROOM]


def test_a_hook_that_does_not_fit_keeps_out_no_smaller_one(inbox: Inbox) -> None:
    small, large = arrived(1), arrived(2, body=b"x" * 10_000)
    desk = Desk(inbox, Room(10, 2 * small.size))
    for one in (large, small):
        desk.intake.offer(one, desk.hear)
    desk.intake.start()
    assert desk.intake.stop(30)
    assert desk.ended == [Outcome.NO_ROOM, Outcome.KEPT]


def test_a_hook_that_is_larger_than_what_may_wait_for_a_commit_is_kept(
    make_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "_PENDING_BYTES", 1000)
    assert make_desk().offer(arrived(1, body=b"x" * 2000)) == [Outcome.KEPT]


def test_what_the_database_does_not_take_is_not_kept_and_the_next_is_tried(
    make_desk: Callable[..., Desk], inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_hooks: Any) -> list[bool]:
        raise StoreError("the disk is full")

    desk = make_desk()
    with monkeypatch.context() as patch:
        patch.setattr(inbox, "add", full)
        assert desk.offer(arrived(1)) == [Outcome.NOT_KEPT]
        patch.setattr(inbox, "add", lambda _hooks: 1 / 0)
        assert desk.offer(arrived(1)) == [Outcome.NOT_KEPT]
    assert desk.offer(arrived(1)) == [Outcome.KEPT]


def test_what_waits_is_shown_until_it_is_read(make_desk: Callable[..., Desk], inbox: Inbox) -> None:
    desk = make_desk()
    desk.offer(arrived(1), arrived(2))
    wait_until(lambda: desk.value("waiting") == 2, "two wait")
    assert desk.value("oldest_waiting_timestamp_seconds") == NOW.timestamp()
    inbox.remove([one.number for one in inbox.read("forge", NOW, **ALL)])
    wait_until(lambda: desk.value("waiting") == 0, "none waits")
    assert desk.value("oldest_waiting_timestamp_seconds") is None


def test_what_was_offered_before_the_stop_is_kept_and_nothing_after_it(
    make_desk: Callable[..., Desk], inbox: Inbox
) -> None:
    desk = make_desk()
    for number in range(50):
        desk.intake.offer(arrived(number), desk.hear)
    assert desk.intake.stop(30)
    assert desk.ended == [Outcome.KEPT] * 50
    assert len(bodies(inbox)) == 50
    desk.intake.offer(arrived(51), desk.hear)
    assert desk.ended[-1] is Outcome.NOT_KEPT


def test_hooks_of_collectors_that_are_gone_are_deleted_and_told(
    make_desk: Callable[..., Desk], inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    inbox.add([arrived(1, "gone", at=NOW - REMEMBERED), arrived(2)])
    desk = make_desk()
    wait_until(lambda: "gone" not in inbox.queued(), "it is deleted")
    wait_until(lambda: "not configured any more were deleted" in caplog.text, "it is told")
    assert desk.value("waiting") == 1
