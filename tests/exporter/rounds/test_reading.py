"""Hooks from the inbox to the page: what they say is saved once, shown, and holds up nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from exporter.contract import Batch, Unit
from exporter.errors import ExporterError, StoreError, Unstorable
from exporter.hooks import Hook, HookNews
from exporter.rendering import Format
from exporter.rounds import units as units_module
from exporter.rounds.reading import HookReader
from exporter.rounds.round import CollectorRounds
from exporter.store.inbox import Arrived, digest_of
from exporter.store.sql import SqlStore
from tests.support.engine import wait_until
from tests.support.fakes import NOW, World, run, value
from tests.support.hooked import SECRET, Hooked, HookedConfig, Reported, body_of
from tests.support.process import PATIENCE

APP, LIB = "group/app", "group/lib"


class Process:
    """One process: a collector that is told by hooks, its rounds, and whoever reads them."""

    def __init__(self, url: str, cls: type[Hooked] = Hooked) -> None:
        self.world = World()
        self.store = SqlStore(url)
        self.inbox = self.store.inbox()
        config = HookedConfig(secret=SECRET, units=(APP, LIB))
        self.collector: Any = cls(config, self.world.context(cls.name, cls.families))
        self.world.registry.add(self.collector)
        page = self.world.exposition.page(cls.name, cls.families)
        clock = self.world.clock
        self.rounds = CollectorRounds(self.collector, page, self.store, self.world.metrics, clock)
        self.woken: list[tuple[str, str]] = []
        self.reader = HookReader(
            self.inbox,
            lambda: {cls.name: self.rounds},
            lambda collector, key: self.woken.append((collector, key)),
            self.world.metrics.hooks,
            clock,
        )

    def begin(self) -> None:
        """Discover, and poll every unit once."""
        self.rounds.discover()
        for state in self.rounds.states():
            self.rounds.visit(state)

    def get(self, *bodies: bytes) -> None:
        """Have hooks in the inbox."""
        name, now = self.collector.name, self.world.clock.now()
        hooks = [Hook({}, body, now) for body in bodies]
        self.inbox.add([Arrived(name, digest_of(name, hook, ""), hook) for hook in hooks])

    def read(self) -> None:
        """Read all that are due."""
        while self.reader.read_all(threading.Event()):
            pass

    def advance(self, seconds: float) -> None:
        clock: Any = self.world.clock
        clock.advance(seconds)

    @property
    def left(self) -> int:
        return sum(one.hooks for one in self.inbox.queued().values())

    def count(self, result: str) -> float:
        labels = {"collector": self.collector.name, "result": result}
        return value(self.world, "ci_exporter_hooks_received_total", **labels) or 0

    def shown(self, status: str = "success", project: str = APP) -> float | None:
        return value(
            self.world,
            "ci_pipeline_runs_total",
            provider=self.collector.provider,
            project=project,
            pipeline="",
            ref_kind="branch",
            source="push",
            status=status,
        )


@pytest.fixture
def make_process(sqlite_url: str) -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def make(cls: type[Hooked] = Hooked) -> Process:
        made.append(Process(sqlite_url, cls))
        return made[-1]

    yield make
    for process in made:
        assert process.reader.stop(30)
        process.store.close()


@pytest.fixture
def process(make_process: Callable[..., Process]) -> Process:
    made = make_process()
    made.begin()
    return made


LATER = (NOW + timedelta(seconds=1)).isoformat()


def test_what_a_hook_says_is_saved_shown_and_gone_from_the_queue(process: Process) -> None:
    process.get(body_of(APP, [1, "success", LATER]))
    process.read()
    assert process.shown() == 1
    assert process.left == 0
    count = value(
        process.world, "ci_exporter_hooks_processing_seconds_count", collector=process.collector.name
    )
    assert count == 1


def test_hooks_of_one_unit_are_saved_together_in_their_order(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves: list[Batch] = []
    save = process.store.save
    monkeypatch.setattr(
        process.store, "save", lambda unit, batch, now: saves.append(batch) or save(unit, batch, now)
    )
    process.get(
        body_of(APP, [1, "pending"]),
        body_of(LIB, [2, "pending"]),
        body_of(APP, [1, "running"]),
        body_of(APP, [1, "failed", LATER]),
    )
    process.read()
    told = [[(run.run_id, run.status.value) for run in batch.runs] for batch in saves]
    assert told == [[(1, "pending"), (1, "running"), (1, "failed")], [(2, "pending")]]
    assert process.shown("failed") == 1
    assert "ci_pipeline_runs_active" in process.world.registry.render(Format.TEXT).decode()


def test_a_hook_and_a_poll_of_the_same_run_count_it_once(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        process.collector,
        "poll",
        lambda _unit, _position: Batch(runs=(run(1, at=NOW + timedelta(seconds=1)),)),
    )
    for _ in range(2):
        process.get(body_of(APP, [1, "success", LATER]))
        process.read()
        process.rounds.visit(process.rounds.states()[0])
    assert process.shown() == 1


def test_a_crash_between_saving_and_removing_saves_once_more_and_counts_nothing_twice(
    process: Process, make_process: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_args: Any) -> None:
        raise StoreError("the process died here")

    process.get(body_of(APP, [1, "success", LATER]))
    monkeypatch.setattr(process.inbox, "remove", crash)
    with pytest.raises(StoreError):
        process.read()
    other = make_process()
    other.begin()
    other.read()
    assert other.shown() == 1
    assert other.left == 0


def test_hooks_wait_until_it_is_known_what_there_is(make_process: Callable[..., Process]) -> None:
    process = make_process()
    process.get(body_of(APP, [1, "success", LATER]))
    process.read()
    assert (process.left, process.count("ignored")) == (1, 0)
    process.begin()
    process.read()
    assert (process.left, process.shown()) == (0, 1)


def test_a_hook_does_not_complete_the_first_history_of_a_unit(make_process: Callable[..., Process]) -> None:
    process = make_process()
    process.rounds.discover()
    process.get(body_of(APP, [1, "success", LATER]))
    process.read()
    assert process.shown() is None
    for state in process.rounds.states():
        process.rounds.visit(state)
    assert process.shown() == 1


def test_a_hook_without_records_has_its_unit_polled(process: Process) -> None:
    process.get(body_of(APP), body_of(APP, again=1), body_of(LIB, [1, "success", LATER]))
    process.read()
    assert process.woken == [("hooked", APP)]


def test_a_hook_about_what_is_not_watched_is_ignored_and_may_come_again(process: Process) -> None:
    for _ in range(2):
        process.get(body_of("group/other", [1, "success", LATER]))
        process.read()
    assert (process.count("ignored"), process.left) == (2, 0)


def test_a_hook_that_is_not_understood_is_counted_and_gone(process: Process) -> None:
    process.get(b'{"ping": 1}')
    process.read()
    assert (process.count("not_understood"), process.count("failed"), process.left) == (1, 0, 0)


def test_a_hook_that_makes_the_collector_raise_holds_up_no_other_and_is_given_up_at_last(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    bad = body_of(APP, explode=True)
    process.get(bad, body_of(APP, [1, "success", LATER]))
    process.read()
    assert (process.shown(), process.left) == (1, 1)
    for _ in range(2):
        process.advance(60)
        process.read()
    assert (process.count("failed"), process.left) == (3, 0)
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert [message.partition(":")[0] for message in errors] == ["hook could not be read", "hook given up"]
    # Once the collector is mended, the source may be asked to send it again.
    process.get(bad)
    assert process.left == 1


def test_records_that_cannot_be_saved_cost_only_their_own_hook(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = process.collector.read_hook

    def spoil(hook: Hook) -> list[HookNews]:
        if b"spoilt" in hook.body:
            unfit: Any = "no run"
            return [HookNews(Unit(APP, APP), Batch(runs=(unfit,)))]
        return list(read(hook))

    monkeypatch.setattr(process.collector, "read_hook", spoil)
    process.get(body_of(APP, [1, "success", LATER]), b'"spoilt"', body_of(APP, [2, "success", LATER]))
    process.read()
    assert (process.shown(), process.count("failed"), process.left) == (2, 1, 1)


def test_what_the_database_refuses_for_good_holds_up_no_other_hook(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = process.store.save

    def refuse(unit: int, batch: Batch, now: Any) -> Any:
        if any(run.run_id == 7 for run in batch.runs):
            raise Unstorable("this text is not for databases")
        return save(unit, batch, now)

    monkeypatch.setattr(process.store, "save", refuse)
    process.get(*(body_of(APP, [number, "success", LATER]) for number in (6, 7, 8)))
    process.read()
    assert (process.shown(), process.count("failed"), process.left) == (2, 1, 1)
    for _ in range(2):
        process.advance(60)
        process.read()
    assert process.left == 0


def test_hooks_are_counted_once_however_often_the_store_refuses_them(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any) -> None:
        raise StoreError("the disk is full")

    process.get(b'{"ping": 1}', body_of(APP, explode=True), body_of(APP, [1, "success", LATER]))
    with monkeypatch.context() as patch:
        patch.setattr(process.store, "save", full)
        for _ in range(3):
            with pytest.raises(StoreError):
                process.read()
    process.read()
    assert (process.count("not_understood"), process.count("failed"), process.shown()) == (1, 1, 1)


def test_a_collector_whose_hooks_cannot_be_saved_holds_up_no_other(
    process: Process, make_process: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_process(Reported)
    other.begin()
    reader = HookReader(
        process.inbox,
        lambda: {"hooked": process.rounds, "reported": other.rounds},
        lambda _collector, _key: None,
        process.world.metrics.hooks,
        process.world.clock,
    )

    def gone(*_args: Any) -> None:
        raise StoreError("unit 1 is gone")

    monkeypatch.setattr(process.store, "save", gone)
    process.get(body_of(APP, [1, "success", LATER]))
    other.get(body_of("group/new", [1, "success", LATER]))
    with pytest.raises(StoreError, match="unit 1 is gone"):
        reader.read_all(threading.Event())
    assert process.inbox.queued().keys() == {"hooked"}
    assert other.shown(project="group/new") == 1


def test_a_store_that_takes_nothing_loses_nothing(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any) -> None:
        raise StoreError("the disk is full")

    process.get(body_of(APP, [1, "success", LATER]))
    with monkeypatch.context() as patch:
        patch.setattr(process.store, "save", full)
        with pytest.raises(StoreError):
            process.read()
    assert process.left == 1
    process.read()
    assert (process.shown(), process.left, process.count("failed")) == (1, 0, 0)


def test_a_collector_that_says_nonsense_of_a_hook_fails_with_that_hook_alone(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(process.collector, "read_hook", lambda _hook: [None])
        process.get(body_of(APP))
        process.read()
    process.get(body_of(LIB, [1, "success", LATER]))
    process.read()
    assert (process.shown(project=LIB), process.count("failed"), process.left) == (1, 1, 1)


def test_a_bug_that_hooks_of_one_collector_meet_does_not_stop_those_of_others(
    make_process: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = make_process(Reported), make_process()
    for one in (bad, good):
        one.begin()
        one.get(body_of(APP, [1, "success", LATER]))
    monkeypatch.setattr(bad.rounds, "show", lambda _unit_ids: 1 / 0)
    monkeypatch.setattr(good.reader, "_rounds", lambda: {"reported": bad.rounds, "hooked": good.rounds})
    with pytest.raises(ExporterError, match="reported: ZeroDivisionError"):
        good.read()
    assert good.shown() == 1
    assert good.left == 1, "what the bug met waits"


# -- units that only hooks know


def test_a_unit_is_adopted_with_its_first_hook_and_all_that_is_reported_counts(
    make_process: Callable[..., Process],
) -> None:
    process = make_process(Reported)
    process.begin()
    long_ago = (NOW - timedelta(days=3)).isoformat()
    process.get(body_of("shop/web", [1, "failed", long_ago]))
    process.read()
    assert process.shown("failed", "shop/web") == 1
    assert process.woken == [("reported", "shop/web")]
    assert value(process.world, "ci_exporter_projects", collector="reported") == 1


def test_no_more_units_are_adopted_than_may_be(
    make_process: Callable[..., Process], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(units_module, "_MOST_ADOPTED", 2)
    process = make_process(Reported)
    process.begin()
    process.get(*(body_of(f"group/{number}", [number, "success", LATER]) for number in range(4)))
    process.read()
    assert len(process.rounds.states()) == 2
    assert (process.count("ignored"), process.left) == (2, 0)
    told = [record.levelno for record in caplog.records if "not adopted" in record.message]
    assert told == [logging.WARNING]
    # Those that are there go on.
    process.get(body_of("group/1", [11, "success", LATER]))
    process.read()
    assert process.shown(project="group/1") == 2


def test_a_unit_can_be_adopted_while_a_discovery_ends(
    make_process: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = make_process(Reported)
    process.begin()
    register, saving_together = process.store.register, process.rounds.saving_together
    discovers, saves = threading.Event(), threading.Event()

    def register_late(*given: Any, **more: Any) -> Any:
        if threading.current_thread() is discovery:
            discovers.set()
            saves.wait(0.1)  # if they can: whoever comes second has to wait for the other, and not both
        return register(*given, **more)

    @contextmanager
    def save_late() -> Iterator[None]:
        discovers.wait(PATIENCE)
        with saving_together():
            saves.set()
            yield

    monkeypatch.setattr(process.store, "register", register_late)
    monkeypatch.setattr(process.rounds, "saving_together", save_late)
    process.get(body_of("shop/web", [1, "failed", LATER]))
    discovery = threading.Thread(target=process.rounds.discover, daemon=True)
    reading = threading.Thread(target=process.read, daemon=True)
    for one in (discovery, reading):
        one.start()
    for one in (discovery, reading):
        one.join(PATIENCE)
    assert not discovery.is_alive()
    assert process.shown("failed", "shop/web") == 1


def test_an_adopted_unit_outlives_discoveries_and_restarts(make_process: Callable[..., Process]) -> None:
    process = make_process(Reported)
    process.begin()
    process.get(body_of("shop/web", [1, "failed", LATER]), body_of("shop/api", [1, "failed", LATER]))
    process.read()
    process.rounds.discover()
    assert process.shown("failed", "shop/web") == 1
    again = make_process(Reported)
    again.begin()
    assert [state.stored.unit.name for state in again.rounds.states()] == ["shop/web", "shop/api"]
    assert again.shown("failed", "shop/web") == 1
    again.get(body_of("shop/web", [2, "failed", LATER]))
    again.read()
    assert again.shown("failed", "shop/web") == 2


# -- polls beside hooks


def wait_after_poll(process: Process, *runs: Any) -> float:
    """How long the first unit waits after a poll that brought *runs*."""
    process.collector.poll = lambda _unit, _position: Batch(runs=runs, busy=True)
    visit = process.rounds.visit(process.rounds.states()[0])
    assert visit is not None
    return visit.wait


def test_polls_are_rare_while_hooks_bring_the_news(process: Process) -> None:
    base, maximum = process.collector.schedule.base, process.collector.schedule.maximum
    assert wait_after_poll(process) == base
    process.get(body_of(APP, [1, "success", LATER]))
    process.read()
    # What the poll adds to a run that the hook told of is no reason to distrust hooks.
    more = replace(run(1, at=NOW + timedelta(seconds=1)), coverage_ratio=0.5)
    assert wait_after_poll(process, more) == maximum
    process.advance(3599)
    assert wait_after_poll(process) == maximum
    process.advance(2)
    assert wait_after_poll(process) == base


def test_a_poll_that_finds_what_no_hook_told_makes_polls_frequent_until_the_next_hook(
    process: Process,
) -> None:
    base, maximum = process.collector.schedule.base, process.collector.schedule.maximum
    process.get(body_of(APP, [1, "success", LATER]))
    process.read()
    assert wait_after_poll(process, run(2, at=NOW + timedelta(seconds=2))) == base
    assert wait_after_poll(process) == base
    process.get(body_of(APP, [3, "success", LATER]))
    process.read()
    assert wait_after_poll(process) == maximum


def test_what_a_poll_finds_that_a_hook_asked_for_is_the_news_of_the_hook(process: Process) -> None:
    process.get(body_of(APP))
    process.read()
    maximum = process.collector.schedule.maximum
    assert wait_after_poll(process, run(2, at=NOW + timedelta(seconds=2))) == maximum


# -- the thread


def test_hooks_are_read_only_while_this_process_polls(process: Process) -> None:
    process.reader.lead(True)
    process.get(body_of(APP, [1, "success", LATER]))
    wait_until(lambda: process.shown() == 1, "the hook is shown")
    process.reader.lead(False)
    assert process.reader.stop(30)
    process.get(body_of(APP, [2, "success", LATER]))
    assert process.left == 1
    process.reader.lead(True)
    wait_until(lambda: process.shown() == 2, "the hook is shown after a takeover")
    wait_until(lambda: process.left == 0, "and done")


def test_the_reader_outlives_a_store_that_fails_for_a_while_and_bugs(
    process: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("exporter.rounds.reading._RETRY_SECONDS", 0.001)
    read = process.inbox.read
    failures: list[Exception] = [StoreError("gone"), StoreError("gone"), ZeroDivisionError()]

    def fail(*args: Any, **bounds: Any) -> Any:
        if failures:
            raise failures.pop()
        return read(*args, **bounds)

    monkeypatch.setattr(process.inbox, "read", fail)
    process.get(body_of(APP, [1, "success", LATER]))
    process.reader.lead(True)
    wait_until(lambda: process.shown() == 1, "the hook is shown")
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len([one for one in warnings if "they wait" in one.message]) == 1


def test_news_that_must_keep_their_order_are_not_put_together(process: Process) -> None:
    process.get(body_of(APP, [1, "success", LATER]))
    process.read()
    read = process.collector.read_hook

    def deleting(hook: Hook) -> list[HookNews]:
        if b"delete" in hook.body:
            return [HookNews(Unit(APP, APP), Batch(deleted_runs=(5,)))]
        return list(read(hook))

    process.collector.read_hook = deleting
    process.get(body_of(APP, [5, "running", LATER]), b'"delete"', body_of(APP, [6, "running", LATER]))
    process.read()
    active = value(process.world, "ci_pipeline_runs_active", provider="hooked", project=APP, status="running")
    assert active == 1
