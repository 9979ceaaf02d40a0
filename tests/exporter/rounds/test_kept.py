"""Units without runs: totals and polled samples of one unit together, and polls that fail in part."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exporter.contract import Batch, Observation, Schedule, Unit
from exporter.errors import ExporterError, SourceError, UnitUnavailable
from exporter.families import Sample, Samples
from exporter.model.views import UnitView
from exporter.rendering import Format
from exporter.rounds.backoff import Backoff
from exporter.rounds.round import CollectorRounds
from exporter.rounds.visits import UnitState
from exporter.runnermetrics import FetchResult
from exporter.store.sql import SqlStore
from tests.support.fakes import DEPTH, EVENTS, Kept, World, value

ONE = Unit("1", "one")


class Process:
    """One process with a collector of kept events on a store that others may share."""

    def __init__(self, url: str, world: World | None = None, cls: type[Kept] = Kept) -> None:
        self.world = world or World()
        self.store = SqlStore(url)
        self.source: Any = self.world.build(cls)
        self.source.units = [ONE]
        self.world.registry.add(self.source)
        self.rounds = self.made(self.source)

    def made(self, source: Any) -> CollectorRounds:
        page = self.world.exposition.page(source.name, source.families)
        page.declare(source.declared)
        return CollectorRounds(source, page, self.store, self.world.metrics, self.world.clock)

    def poll(self, *batches: Batch | Callable[[], Batch], rounds: CollectorRounds | None = None) -> Any:
        """Discover if need be, and poll the unit for each of *batches*; returns the last visit."""
        rounds = rounds or self.rounds
        if not rounds.states():
            rounds.discover()
        visit = None
        for batch in batches:
            rounds.collector.answers["1"] = [batch]
            visit = rounds.visit(self.state(rounds))
        return visit

    def state(self, rounds: CollectorRounds | None = None) -> UnitState:
        found = (rounds or self.rounds).state("1")
        assert found
        return found

    @property
    def shown(self) -> dict[str, float]:
        """``name{labels} -> value`` of what the unit exposes."""
        pieces = self.world.exposition.gather(Format.TEXT, gzip=False).pieces
        lines = [line for line in b"".join(pieces).decode().splitlines() if not line.startswith("#")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    def own(self, name: str) -> float | None:
        return value(self.world, f"ci_exporter_{name}", collector="kept")


@pytest.fixture
def process(sqlite_url: str) -> Iterator[Callable[..., Process]]:
    """Starts processes on one store."""
    started: list[Process] = []

    def start(*args: Any, **options: Any) -> Process:
        started.append(Process(sqlite_url, *args, **options))
        return started[-1]

    yield start
    for one in started:
        one.store.close()


Start = Callable[..., Process]


def depth(number: float) -> dict[Any, list[Sample]]:
    return {DEPTH: [Sample(("q",), number)]}


def batch(number: float, *keys: str, **more: Any) -> Batch:
    """A depth, and one event for each of *keys*."""
    events = tuple(Observation(EVENTS, ("a",), 1.0, key) for key in keys)
    return Batch(samples=depth(number), observations=events, **more)


def both(number: float, events: float) -> dict[str, float]:
    return {'ci_depth{queue="q"}': number, 'ci_events_total{kind="a"}': events}


# -- together ------------------------------------------------------------------------------------


def test_totals_and_polled_samples_of_a_unit_are_shown_together(process: Start) -> None:
    one = process()
    visit = one.poll(batch(5, "1", "2"))
    assert (visit.result, one.shown) == (FetchResult.TASK, both(5, 2))
    one.poll(batch(6, "1", "2"))
    assert one.shown == both(6, 2)
    one.poll(batch(6, "3"))
    assert one.shown == both(6, 3)
    one.rounds.follow()
    assert one.shown == both(6, 3)


def test_a_restart_shows_the_totals_at_once_and_then_both(process: Start) -> None:
    process().poll(batch(5, "1", "2"))
    again = process()
    again.rounds.follow()
    assert again.shown == {'ci_events_total{kind="a"}': 2}
    again.poll(batch(7, "2"))
    assert again.shown == both(7, 2)


def test_totals_that_another_process_saves_appear_next_to_what_was_polled_here(process: Start) -> None:
    one, other = process(), process()
    one.poll(batch(5, "1"))
    other.poll(batch(8, "1", "2", "3"))
    one.rounds.follow()
    assert one.shown == both(5, 3)


def test_polled_samples_stay_when_the_first_totals_come(process: Start) -> None:
    """The history of a unit is not shown until it is complete; its samples are."""
    one = process()
    one.poll(batch(5, "1", more=True))
    assert one.shown == {'ci_depth{queue="q"}': 5}
    one.poll(batch(6, "2"))
    assert one.shown == both(6, 2)


def test_a_view_that_was_read_before_newer_totals_were_shown_never_replaces_them(process: Start) -> None:
    """The first poll reads the totals beside the follower, which reads and shows newer ones meanwhile."""
    one, other = process(), process()
    one.poll(Batch())
    one.world.exposition.page("kept", ()).clear()
    read, once = one.store.views, [True]

    def views(*args: Any, **options: Any) -> list[UnitView]:
        found = read(*args, **options)
        if once and once.pop():
            other.poll(batch(9, "a", "b", "c"))
            one.rounds.follow()
        return found

    one.store.views = views  # type: ignore[method-assign]
    one.poll(Batch(samples=depth(5)))
    assert one.shown == both(5, 3)
    one.rounds.follow()
    assert one.shown == both(5, 3)


def test_a_follower_with_an_older_view_never_replaces_what_a_poll_showed(process: Start) -> None:
    one = process()
    one.poll(batch(5, "1"))
    (old,) = one.store.views([one.state().stored.id])
    one.poll(batch(6, "2"))
    one.rounds._display._swap(old)
    assert one.shown == both(6, 2)


class Mixed(Kept):
    """Has polled samples in the family of its totals, too."""

    def poll(self, unit: Unit, position: Any) -> Batch:
        found = super().poll(unit, position)
        extra: Samples = {**(found.samples or {}), EVENTS: [Sample(("polled",), 9.0)]}
        return Batch(samples=extra, observations=found.observations)


def test_a_family_may_have_totals_and_polled_samples(process: Start) -> None:
    one = process(cls=Mixed)
    one.poll(batch(5, "1"))
    assert one.shown == both(5, 1) | {'ci_events_total{kind="polled"}': 9}


@pytest.mark.parametrize("bad", [Sample((), 1.0), Sample(("q",), None), Sample((None,), 1)])
def test_samples_that_cannot_be_shown_hold_up_no_totals(process: Start, bad: Any) -> None:
    one, other = process(), process()
    one.poll(batch(5, "1"), Batch(samples={DEPTH: [bad]}))
    assert one.own("collector_success") == 0
    other.poll(batch(5, "1", "2"))
    one.rounds.follow()
    assert one.shown == both(5, 2)
    one.poll(batch(6, "3"))
    assert one.shown == both(6, 3)


def test_a_unit_that_vanishes_takes_both_along_and_comes_back_with_its_totals(process: Start) -> None:
    one = process()
    one.poll(batch(5, "1"))
    one.source.units = []
    one.rounds.discover()
    assert one.shown == {}
    one.source.units = [ONE]
    one.rounds.discover()
    assert one.shown == {'ci_events_total{kind="a"}': 1}
    one.poll(batch(6, "1"))
    assert one.shown == both(6, 1)


def test_a_unit_that_was_hidden_comes_back_with_both(process: Start) -> None:
    def refuse() -> Batch:
        raise UnitUnavailable("403", "forbidden")

    one = process()
    one.poll(batch(5, "1"), refuse)
    assert one.shown == {}
    one.rounds.follow()
    assert one.shown == {}
    one.poll(batch(6, "1"))
    assert one.shown == both(6, 1)


# -- standing by and reload ----------------------------------------------------------------------


def test_standing_by_drops_polled_samples_keeps_totals_and_follows_them(process: Start) -> None:
    one, other = process(), process()
    one.poll(batch(5, "1"))
    swaps: list[dict[str, float]] = []
    page = one.world.exposition.page("kept", ())
    swap = page.swap
    page.swap = lambda *args: (swap(*args), swaps.append(one.shown))[0]  # type: ignore[method-assign]
    one.rounds.stand_by()
    assert swaps == [{'ci_events_total{kind="a"}': 1}], "the totals are there at every moment"
    other.poll(batch(9, "1", "2"))
    one.rounds.follow()
    assert one.shown == {'ci_events_total{kind="a"}': 2}
    one.rounds.lead()
    one.poll(batch(6, "3"))
    assert one.shown == both(6, 3)


def test_a_poll_that_ends_after_standing_by_shows_no_samples(process: Start) -> None:
    one = process()
    one.poll(batch(5, "1"), lambda: (one.rounds.stand_by(), batch(6, "2"))[1])
    assert one.shown == {'ci_events_total{kind="a"}': 2}


def reloaded(one: Process, **attributes: Any) -> CollectorRounds:
    """The rounds of a new configuration, in the place of the old ones."""
    source = one.world.build(Kept, **attributes)
    source.units = [ONE]  # type: ignore[attr-defined]
    one.world.registry.replace(source)
    rounds = one.made(source)
    one.rounds.alive = False
    rounds.inherit(one.rounds)
    rounds.follow()
    return rounds


def test_a_reload_shows_both_until_the_next_poll(process: Start) -> None:
    one = process()
    one.poll(batch(5, "1"))
    new = reloaded(one)
    assert one.shown == both(5, 1)
    new.discover()
    new.follow()
    assert one.shown == both(5, 1)
    one.poll(batch(6, "2"), rounds=new)
    assert one.shown == both(6, 2)


def test_a_reload_forgets_polled_samples_of_units_and_families_that_are_gone(process: Start) -> None:
    one = process()
    one.poll(batch(5, "1"))
    new = reloaded(one, families=(EVENTS,))
    assert one.shown == {'ci_events_total{kind="a"}': 1}
    new.collector.units = []
    new.discover()
    assert one.shown == {}
    new.collector.units = [ONE]
    new.discover()
    assert one.shown == {'ci_events_total{kind="a"}': 1}


def test_a_reload_inherits_nothing_of_another_target(process: Start) -> None:
    one = process()
    one.poll(batch(5, "1"))
    new = reloaded(one, target="elsewhere")
    new.discover()
    assert one.shown == {}


# -- partial failures ----------------------------------------------------------------------------


def test_a_poll_that_fails_in_part_is_saved_and_shown_and_counts_as_failed(
    process: Start, caplog: pytest.LogCaptureFixture
) -> None:
    one = process()
    failure = SourceError("query b failed", retry_after=77)
    with caplog.at_level(logging.INFO):
        one.poll(batch(5, "1"))
        succeeded = one.own("last_success_timestamp_seconds")
        one.world.clock.advance(60)  # type: ignore[attr-defined]
        visit = one.poll(batch(6, "1", "2", failure=failure))
    assert (visit.result, visit.at_least, visit.exactly) == (FetchResult.ERROR, 77, None)
    assert one.shown == both(6, 2)
    assert one.own("collector_success") == 0
    assert one.own("last_success_timestamp_seconds") == succeeded
    assert one.state().error == "query b failed"
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == ["poll failed"]
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            one.poll(batch(7, failure=SourceError("query b failed")))
        one.poll(batch(8), batch(9))
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == ["poll failed"]
    assert [r.message for r in caplog.records].count("project readable again") == 1
    assert one.own("collector_success") == 1
    assert one.own("last_success_timestamp_seconds") == succeeded + 60  # type: ignore[operator]


@pytest.mark.parametrize(("answered", "ready_after"), [(True, 1), (False, 4)])
def test_readiness_waits_for_a_source_that_does_not_answer_and_for_no_query(
    process: Start, answered: bool, ready_after: int
) -> None:
    one = process()
    one.rounds.discover()
    polls = 0
    while one.rounds.not_ready() is not None and polls < 4:
        last = answered or polls == 3
        one.poll(batch(5, failure=SourceError("down"), answered=last))
        polls += 1
    assert (one.rounds.not_ready(), polls) == (None, ready_after)


def test_a_source_that_never_answers_is_named_as_the_reason(process: Start) -> None:
    one = process()
    for _ in range(3):
        one.poll(batch(5, failure=SourceError("down"), answered=False))
    assert one.rounds.not_ready() == "kept: none of the projects could be read yet"


def test_after_a_failure_that_has_more_to_tell_nobody_asks_at_once(process: Start) -> None:
    one = process()
    assert one.poll(batch(5, "1", more=True, failure=SourceError("down"))).wait == 10


# -- schedules of units --------------------------------------------------------------------------


def test_each_unit_has_its_own_schedule(process: Start) -> None:
    one = process()

    def schedule_of(unit: Unit) -> Schedule:
        return Schedule(float(unit.key), 500, 60, retry=2)

    one.source.schedule_of = schedule_of
    one.source.units = [ONE, Unit("300", "slow")]
    one.source.answers["300"] = [batch(1), SourceError("down"), UnitUnavailable("403", "forbidden")]
    one.rounds.discover()
    slow = one.rounds.state("300")
    assert slow
    visits = [one.rounds.visit(slow) for _ in range(3)]
    assert [visit.wait for visit in visits if visit] == [300, 2, 500]
    assert one.poll(batch(1)).wait == 1


def test_the_instant_of_the_next_poll_is_asked_after_success_only(process: Start) -> None:
    one = process()
    asked: list[Any] = []
    one.source.next_poll = lambda unit, now: asked.append((unit.key, now))
    one.poll(batch(5), batch(5, failure=SourceError("down")), batch(5, more=True))
    assert asked == [("1", one.world.clock.now())]


@pytest.mark.parametrize("idle", [0, 5])
def test_retries_begin_with_the_retry_however_idle_the_unit_was(idle: int) -> None:
    backoff = Backoff(Schedule(100, 300, 60, retry=2))
    for _ in range(idle):
        backoff.note(FetchResult.EMPTY)
    found = []
    for _ in range(12):
        backoff.note(FetchResult.ERROR)
        found.append(backoff.interval)
    assert found == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]
    backoff.note(FetchResult.TASK)
    assert backoff.interval == 100


def test_a_retry_is_what_it_says_even_if_longer_than_the_base() -> None:
    backoff = Backoff(Schedule(10, 300, 60, retry=60))
    waits = []
    for _ in range(2000):
        backoff.note(FetchResult.ERROR)
        waits.append(backoff.interval)
    assert waits[:4] == [60, 120, 240, 300]
    assert waits[-1] == 300


def test_a_failure_may_be_any_error_of_the_source(process: Start) -> None:
    one = process()
    one.poll(batch(5, "1", failure=UnitUnavailable("gone", "forbidden")))
    assert one.shown == {}
    assert isinstance(UnitUnavailable("gone", "forbidden"), ExporterError)
    one.poll(batch(6, "1"))
    assert one.shown == both(6, 1)
