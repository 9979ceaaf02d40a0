"""One collector's rounds on a real store: poll, save, show; and what happens when each of them fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from exporter.contract import Batch, Discovery, Trouble, Unit, UnitTrouble
from exporter.errors import ExporterError, SourceError, Stopped, StoreError, Unauthorized, UnitUnavailable
from exporter.families import Sample, gauge
from exporter.model.runs import RefKind, Status
from exporter.rendering import Format
from exporter.rounds.round import CollectorRounds
from exporter.rounds.visits import UnitState, asked_wait
from exporter.runnermetrics import FetchResult
from exporter.store.sql import SqlStore
from tests.support.fakes import NOW, PageCollector, Source, World, run, value

DEPTH = gauge("ci_depth", "Depth.", ("queue",))
ONE, TWO = Unit("1", "group/app"), Unit("2", "group/lib")


class Bench:
    """A fake source with its rounds, store and registry."""

    def __init__(self, store: SqlStore, world: World | None = None, name: str = "fake") -> None:
        self.world = world or World()
        self.store = store
        self.source: Any = self.world.build(Source, name=name)
        self.world.registry.add(self.source)
        self.rounds = self.rounds_of(self.source)

    def rounds_of(self, source: Any) -> CollectorRounds:
        page = self.world.exposition.page(source.name, source.families)
        return CollectorRounds(source, page, self.store, self.world.metrics, self.world.clock)

    def discover(self, *units: Unit) -> dict[str, UnitState]:
        self.source.units = list(units)
        self.rounds.discover()
        return {state.stored.unit.key: state for state in self.rounds.states()}

    def shown(self, project: str = "group/app") -> bool:
        return f'project="{project}"' in self.text()

    def text(self) -> str:
        return b"".join(self.world.exposition.gather(Format.TEXT, gzip=False).pieces).decode()

    def counted(self, status: str = "success", project: str = "group/app") -> float | None:
        labels = dict(provider="fake", project=project, pipeline="", ref_kind="branch", source="push")
        return value(self.world, "ci_pipeline_runs_total", **labels, status=status)

    def own(self, name: str) -> float | None:
        return value(self.world, f"ci_exporter_{name}", collector="fake")


@pytest.fixture
def store(sqlite_url: str) -> Iterator[SqlStore]:
    store = SqlStore(sqlite_url)
    yield store
    store.close()


@pytest.fixture
def bench(store: SqlStore) -> Bench:
    return Bench(store)


def test_a_poll_is_saved_counted_and_shown(bench: Bench) -> None:
    bench.source.answers["1"] = [Batch(cursor="c1", runs=(run(7),))]
    states = bench.discover(ONE)
    visit = bench.rounds.visit(states["1"])
    assert visit
    assert (visit.result, visit.wait) == (FetchResult.TASK, 10)
    assert bench.counted() == 1
    assert 'ref="main",ref_kind="branch",source="push",status="success"} 1.0' in bench.text()
    assert bench.source.positions[0].cursor is None
    bench.rounds.visit(states["1"])
    assert bench.source.positions[1].cursor == "c1"
    assert bench.counted() == 1


def test_a_poll_that_repeats_what_is_known_brings_no_news(bench: Bench) -> None:
    bench.source.answers["1"] = [Batch(runs=(run(7),))]
    states = bench.discover(ONE)
    visits = [bench.rounds.visit(states["1"]) for _ in range(4)]
    assert [(visit.result, visit.wait) for visit in visits if visit] == [
        (FetchResult.TASK, 10),
        (FetchResult.EMPTY, 10),
        (FetchResult.EMPTY, 20),
        (FetchResult.EMPTY, 40),
    ]


def test_a_unit_with_a_run_under_way_is_not_polled_less_often(bench: Bench) -> None:
    bench.source.answers["1"] = [Batch(busy=True)]
    states = bench.discover(ONE)
    assert [bench.rounds.visit(states["1"]).wait for _ in range(4)] == [10] * 4  # type: ignore[union-attr]


def test_more_news_waiting_means_another_poll_at_once(bench: Bench) -> None:
    bench.source.answers["1"] = [Batch(runs=(run(7),), more=True), Batch(runs=(run(8),))]
    states = bench.discover(ONE)
    assert [bench.rounds.visit(states["1"]).wait for _ in range(2)] == [0, 10]  # type: ignore[union-attr]


def test_history_is_not_shown_until_it_is_complete(bench: Bench) -> None:
    bench.source.history_days = 30
    bench.source.answers["1"] = [
        Batch(cursor="a", runs=(run(7),), more=True),
        SourceError("timeout"),
        Batch(cursor="b", runs=(run(8), run(9, Status.FAILED))),
    ]
    states = bench.discover(ONE)
    for _ in range(2):
        bench.rounds.visit(states["1"])
        bench.rounds.follow()
        assert not bench.shown()
    bench.rounds.visit(states["1"])
    assert (bench.counted(), bench.counted("failed")) == (2, 1)


def test_runs_from_before_counting_began_are_state_but_not_counted(bench: Bench) -> None:
    bench.source.answers["1"] = [Batch(runs=(run(7, at=NOW - timedelta(days=1)), run(8, Status.FAILED)))]
    bench.rounds.visit(bench.discover(ONE)["1"])
    assert (bench.counted(), bench.counted("failed")) == (0, 1)


@pytest.mark.parametrize("failure", [SourceError("no answer"), RuntimeError("a bug"), KeyError("id")])
def test_a_failing_poll_keeps_what_is_shown_and_is_reported_once(
    bench: Bench, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bench.source.answers["1"] = [Batch(runs=(run(7),)), failure]
    states = bench.discover(ONE)
    bench.rounds.visit(states["1"])
    before = bench.text()
    waits = [bench.rounds.visit(states["1"]).wait for _ in range(5)]  # type: ignore[union-attr]
    assert waits == [10, 20, 40, 80, 80]
    assert bench.text() == before
    assert bench.own("collector_success") == 0
    if isinstance(failure, SourceError):
        assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == ["poll failed"]
    bench.source.answers["1"] = [Batch()]
    bench.rounds.visit(states["1"])
    assert bench.own("collector_success") == 1


def test_a_store_that_fails_fails_the_poll_and_keeps_what_is_shown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.source.answers["1"] = [Batch(runs=(run(7),)), Batch(cursor="x", runs=(run(8),))]
    states = bench.discover(ONE)
    bench.rounds.visit(states["1"])

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "save", full)
        visit = bench.rounds.visit(states["1"])
        assert visit
        assert visit.result is FetchResult.ERROR
        assert bench.counted() == 1
    bench.rounds.visit(states["1"])
    assert bench.counted() == 2


def test_the_wait_that_a_source_asks_for_is_obeyed(bench: Bench) -> None:
    bench.source.answers["1"] = [SourceError("slow down", retry_after=700.0)]
    visit = bench.rounds.visit(bench.discover(ONE)["1"])
    assert visit
    assert (visit.wait, visit.at_least) == (10, 700)
    assert asked_wait(SourceError("x")) == 0
    assert asked_wait(SourceError("x", retry_after=1e15)) == 86_400


def test_a_unit_that_cannot_be_read_is_hidden_and_reported_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    gone = UnitUnavailable("404 from the source", "not_found")
    bench.source.answers["1"] = [Batch(runs=(run(7),)), gone, gone, gone, Batch()]
    states = bench.discover(ONE, TWO)
    bench.rounds.visit(states["2"])
    bench.rounds.visit(states["1"])
    assert bench.shown()
    for _ in range(3):
        visit = bench.rounds.visit(states["1"])
        assert visit
        assert (visit.result, visit.wait) == (FetchResult.ERROR, 80)
        bench.rounds.follow()
        assert not bench.shown()
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == ["project needs attention"]
    assert bench.rounds.troubles() == [UnitTrouble("group/app", Trouble.NOT_FOUND, "404 from the source")]
    assert bench.own("collector_success") == 1
    bench.rounds.visit(states["1"])
    assert bench.shown()
    assert bench.rounds.troubles() == []


def test_a_reason_that_nobody_knows_is_still_a_trouble(bench: Bench) -> None:
    bench.source.answers["1"] = [UnitUnavailable("odd", "strange")]
    bench.rounds.visit(bench.discover(ONE)["1"])
    assert [trouble.reason for trouble in bench.rounds.troubles()] == [Trouble.BAD_DATA]


def test_a_unit_with_a_trouble_that_its_batch_tells_stays_shown(bench: Bench) -> None:
    trouble = UnitTrouble("group/app", Trouble.BAD_DATA, "3 runs could not be read")
    bench.source.answers["1"] = [Batch(runs=(run(7),), trouble=trouble), Batch(trouble=trouble)]
    states = bench.discover(ONE)
    for _ in range(3):
        bench.rounds.visit(states["1"])
        bench.rounds.follow()
        assert bench.shown()
    assert bench.rounds.troubles() == [trouble]


def test_troubles_of_discovery_are_told_and_logged_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.source.troubles = (UnitTrouble("group/typo", Trouble.NOT_FOUND, "no such project"),)
    bench.discover(ONE)
    bench.discover(ONE)
    assert [trouble.name for trouble in bench.rounds.troubles()] == ["group/typo"]
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == ["project needs attention"]


@pytest.mark.parametrize("where", ["poll", "discovery"])
def test_refused_credentials_stop_polling_until_they_change(
    bench: Bench, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    states = bench.discover(ONE)
    refused = Unauthorized("401: the token is not accepted")
    if where == "poll":
        bench.source.answers["1"] = [refused]
        assert bench.rounds.visit(states["1"]) is None
    else:
        bench.source.units = refused
        assert bench.rounds.discover() == []
    assert bench.rounds.halted == "401: the token is not accepted"
    assert not bench.rounds.is_current(states["1"])
    assert bench.own("collector_success") == 0
    assert "401" in (bench.rounds.not_ready() or "")
    assert not bench.rounds.resume()
    bench.source.may_ask_again = True
    assert bench.rounds.resume()
    assert bench.rounds.halted is None
    assert bench.rounds.is_current(states["1"])
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1


def test_series_of_a_vanished_unit_vanish_and_come_back_with_it(bench: Bench) -> None:
    bench.source.answers = {key: [Batch(runs=(run(7),))] for key in "12"}
    for state in bench.discover(ONE, TWO).values():
        bench.rounds.visit(state)
    gone = bench.discover(ONE, TWO)["2"]
    bench.discover(ONE)
    assert (bench.shown(), bench.shown("group/lib")) == (True, False)
    assert not bench.rounds.is_current(gone)
    assert bench.own("projects") == 1
    bench.discover(ONE, TWO)
    assert bench.counted(project="group/lib") == 1


def test_a_renamed_unit_keeps_its_totals_under_its_new_name(bench: Bench) -> None:
    bench.source.answers["1"] = [Batch(runs=(run(7),)), Batch(unit=replace(ONE, name="group/new"))]
    states = bench.discover(ONE)
    for _ in range(2):
        bench.rounds.visit(states["1"])
    assert (bench.counted(), bench.counted(project="group/new")) == (None, 1)
    bench.discover(replace(ONE, name="group/newest"))
    assert (bench.counted(project="group/new"), bench.counted(project="group/newest")) == (None, 1)


def test_forgotten_refs_lose_their_series(bench: Bench) -> None:
    later = NOW + timedelta(hours=1)
    bench.source.answers["1"] = [
        Batch(runs=(run(7), run(8, ref="old"))),
        Batch(refs={RefKind.BRANCH: frozenset({"main"})}, refs_read_at=later),
    ]
    states = bench.discover(ONE)
    bench.rounds.visit(states["1"])
    assert 'ref="old"' in bench.text()
    bench.rounds.visit(states["1"])
    assert 'ref="old"' not in bench.text()


def test_what_another_process_saves_is_followed(bench: Bench) -> None:
    states = bench.discover(ONE)
    bench.rounds.visit(states["1"])
    bench.store.save(states["1"].stored.id, Batch(runs=(run(7),)), NOW)
    assert bench.counted() is None
    bench.rounds.follow()
    assert bench.counted() == 1


def test_an_older_view_never_replaces_a_newer_one(bench: Bench) -> None:
    bench.source.answers["1"] = [Batch(runs=(run(7),)), Batch(runs=(run(8),))]
    states = bench.discover(ONE)
    bench.rounds.visit(states["1"])
    old = bench.store.views([states["1"].stored.id])[0]
    bench.rounds.visit(states["1"])
    bench.rounds._display._swap(old)
    assert bench.counted() == 2


def test_a_unit_whose_samples_cannot_be_made_does_not_hide_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench.source.answers = {key: [Batch(runs=(run(7),))] for key in "12"}
    for state in bench.discover(ONE, TWO).values():
        bench.rounds.visit(state)
    again = bench.rounds_of(bench.source)
    bench.world.page("fake").clear()
    good = bench.source.unit_samples

    def picky(view: Any) -> Any:
        if view.key == "1":
            raise ValueError("a bug")
        return good(view)

    monkeypatch.setattr(bench.source, "unit_samples", picky)
    again.follow()
    again.follow()
    assert (bench.shown(), bench.shown("group/lib")) == (False, True)
    assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == ["project could not be shown"]


def test_an_entity_that_a_cap_cut_is_shown_whole_when_there_is_room(store: SqlStore) -> None:
    bench = Bench(store, World(cap=3))
    bench.source.answers = {
        "1": [Batch(runs=(run(1, ref="a"), run(2, ref="b"))), Batch()],
        "2": [Batch(runs=(run(3, ref="c"), run(4, ref="d")))],
    }
    for state in bench.discover(ONE, TWO).values():
        bench.rounds.visit(state)
    ids = "ci_pipeline_last_run_id{"
    assert bench.text().count(ids) == 3
    bench.source.units = [TWO]
    bench.rounds.discover()
    bench.rounds.follow()
    assert bench.text().count(ids) == 2
    assert 'ref="d"' in bench.text()


# -- plain samples ---------------------------------------------------------------------------------


def sampler(bench: Bench, *answers: Any) -> tuple[Any, CollectorRounds, UnitState]:
    """A collector that keeps no runs, with its rounds and its only unit."""
    source: Any = bench.world.build(
        Source, name="sql", families=(DEPTH,), unit_samples=PageCollector.unit_samples
    )
    bench.world.registry.add(source)
    source.answers["1"] = list(answers)
    rounds = bench.rounds_of(source)
    rounds.discover()
    return source, rounds, rounds.states()[0]


def depth(number: float) -> Batch:
    return Batch(samples={DEPTH: [Sample(("q",), number)]})


def test_plain_samples_are_shown_and_stay_when_the_store_is_followed(bench: Bench) -> None:
    source, rounds, state = sampler(bench, depth(5), SourceError("down"))
    visit = rounds.visit(state)
    assert visit
    assert visit.result is FetchResult.TASK
    for _ in range(2):
        rounds.follow()
        rounds.discover()
        assert 'ci_depth{queue="q"} 5.0' in bench.text()
    rounds.visit(state)
    assert 'ci_depth{queue="q"} 5.0' in bench.text()
    source.units = []
    rounds.discover()
    assert "ci_depth{" not in bench.text()


def test_quiet_samples_are_shown_and_are_no_news(bench: Bench) -> None:
    _, rounds, state = sampler(bench, depth(5), replace(depth(6), quiet=True))
    visits = [rounds.visit(state) for _ in range(2)]
    assert [visit.result for visit in visits if visit] == [FetchResult.TASK, FetchResult.EMPTY]
    assert 'ci_depth{queue="q"} 6.0' in bench.text()


def test_plain_samples_of_a_unit_that_vanished_while_it_was_polled_are_not_shown(bench: Bench) -> None:
    source, rounds, state = sampler(bench)

    def vanish() -> Batch:
        source.units = []
        rounds.discover()
        return depth(5)

    source.answers["1"] = [vanish]
    rounds.visit(state)
    assert "ci_depth{" not in bench.text()


@pytest.mark.parametrize(
    "bad", [Sample(("q", "surplus"), 1.0), Sample((None,), 1.0), Sample(("q",), None), Sample(("q",), "abc")]
)
def test_plain_samples_that_cannot_be_shown_fail_the_poll_and_keep_the_old_ones(
    bench: Bench, bad: Any
) -> None:
    _, rounds, state = sampler(bench, depth(5), Batch(samples={DEPTH: [Sample(("r",), 1.0), bad]}))
    rounds.visit(state)
    visit = rounds.visit(state)
    assert visit
    assert visit.result is FetchResult.ERROR
    assert 'ci_depth{queue="q"} 5.0' in bench.text()
    assert value(bench.world, "ci_exporter_collector_success", collector="sql") == 0


def test_plain_samples_are_dropped_by_a_process_that_stands_by(bench: Bench) -> None:
    _, rounds, state = sampler(bench, depth(5))
    rounds.visit(state)
    rounds.stand_by()
    assert "ci_depth{" not in bench.text()


# -- reload ----------------------------------------------------------------------------------------


def test_rounds_that_a_reload_replaced_change_nothing_any_more(bench: Bench) -> None:
    states = bench.discover(ONE)
    bench.source.answers["1"] = [Batch(runs=(run(7),)), Batch(runs=(run(8),))]
    bench.rounds.visit(states["1"])
    bench.rounds.alive = False
    assert bench.rounds.visit(states["1"]) is None
    assert not bench.rounds.is_current(states["1"])
    assert bench.counted() == 1
    bench.rounds.discover()
    assert bench.shown()


def test_rounds_of_a_collector_that_a_reload_removed_bring_none_of_its_gauges_back(bench: Bench) -> None:
    states = bench.discover(ONE)
    bench.rounds.visit(states["1"])
    names = ("last_success_timestamp_seconds", "collector_duration_seconds", "projects", "collector_success")
    assert all(bench.own(name) is not None for name in names)
    bench.rounds.alive = False
    bench.world.metrics.forget("fake")
    bench.rounds.visit(states["1"])
    bench.rounds.discover()
    assert [name for name in names if bench.own(name) is not None] == []


def test_series_of_another_target_go_after_a_reload(bench: Bench) -> None:
    bench.source.answers["1"] = [Batch(runs=(run(7),))]
    bench.rounds.visit(bench.discover(ONE)["1"])
    moved: Any = bench.world.build(Source, name="fake", target="fake at another address")
    moved.units = [TWO]
    bench.rounds.alive = False
    bench.world.registry.replace(moved)
    rounds = bench.rounds_of(moved)
    rounds.follow()
    assert bench.shown()
    rounds.discover()
    assert not bench.shown()


# -- discovery, readiness, measures ----------------------------------------------------------------


@pytest.mark.parametrize("failure", [SourceError("down"), RuntimeError("a bug")])
def test_a_failing_discovery_keeps_the_units_is_logged_once_and_tried_again_soon(
    bench: Bench, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bench.discover(ONE)
    assert bench.rounds.discovery_wait == 1800
    bench.source.units = failure
    waits = []
    for _ in range(8):
        with pytest.raises(ExporterError):
            bench.rounds.discover()
        waits.append(bench.rounds.discovery_wait)
    assert waits == [5, 10, 20, 40, 80, 160, 160, 160]
    assert len(bench.rounds.states()) == 1
    assert bench.own("collector_success") == 0
    if isinstance(failure, SourceError):
        assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
    assert len(bench.discover(ONE)) == 1
    assert bench.own("collector_success") == 1
    assert bench.rounds.discovery_wait == 1800


def test_discovery_tells_which_units_were_not_polled_before(bench: Bench) -> None:
    bench.source.units = [ONE]
    assert [state.stored.unit for state in bench.rounds.discover()] == [ONE]
    bench.source.units = [ONE, TWO]
    assert [state.stored.unit for state in bench.rounds.discover()] == [TWO]


def test_a_shutdown_is_nobodys_failure(bench: Bench) -> None:
    states = bench.discover(ONE)
    bench.source.answers["1"] = [Stopped("stopping")]
    assert bench.rounds.visit(states["1"]) is None
    assert states["1"].backoff.errors == 0
    assert bench.own("collector_success") == 1
    bench.source.units = Stopped("stopping")
    assert bench.rounds.discover() == []


def test_readiness_says_what_it_waits_for(bench: Bench) -> None:
    assert bench.rounds.not_ready() == "fake: looking for projects"
    bench.source.units = SourceError("no answer from the source")
    with pytest.raises(SourceError):
        bench.rounds.discover()
    assert bench.rounds.not_ready() == "fake: no answer from the source"
    states = bench.discover(ONE, TWO)
    bench.source.answers = {"1": [Batch(more=True), Batch()], "2": [SourceError("down")]}
    assert bench.rounds.not_ready() == "fake: first round: 0 of 2 projects read"
    bench.rounds.visit(states["1"])
    assert bench.rounds.not_ready() == "fake: first round: 0 of 2 projects read"
    bench.rounds.visit(states["1"])
    assert bench.rounds.not_ready() == "fake: first round: 1 of 2 projects read"
    for _ in range(3):
        bench.rounds.visit(states["2"])
    assert bench.rounds.not_ready() is None


def test_a_source_that_never_answers_is_not_ready(bench: Bench) -> None:
    states = bench.discover(ONE)
    bench.source.answers["1"] = [SourceError("down")]
    for _ in range(4):
        bench.rounds.visit(states["1"])
    assert bench.rounds.not_ready() == "fake: none of the projects could be read yet"


def test_no_projects_are_ready_at_once(bench: Bench) -> None:
    bench.source.units = []
    bench.rounds.discover()
    assert bench.rounds.not_ready() is None
    assert (bench.own("projects"), bench.own("collector_success")) == (0, 1)


def test_a_round_takes_as_long_as_all_its_polls(bench: Bench) -> None:
    clock: Any = bench.world.clock
    bench.source.answers = {
        "1": [lambda: clock.advance(3) or Batch()],
        "2": [lambda: clock.advance(4) or Batch()],
    }
    states = bench.discover(ONE, TWO)
    bench.rounds.visit(states["1"])
    assert bench.own("collector_duration_seconds") is None
    bench.rounds.visit(states["1"])
    bench.rounds.visit(states["2"])
    assert bench.own("collector_duration_seconds") == 10
    bench.rounds.visit(states["2"])
    assert bench.own("collector_duration_seconds") == 10
    bench.rounds.visit(states["1"])
    assert bench.own("collector_duration_seconds") == 7
    assert states["1"].last_polled == 17


def test_the_last_success_is_when_an_answer_was_saved(bench: Bench) -> None:
    clock: Any = bench.world.clock
    states = bench.discover(ONE)
    assert bench.own("last_success_timestamp_seconds") is None
    bench.rounds.visit(states["1"])
    first = bench.own("last_success_timestamp_seconds")
    assert first == NOW.timestamp()
    clock.advance(60)
    bench.source.answers["1"] = [SourceError("down")]
    bench.rounds.visit(states["1"])
    assert bench.own("last_success_timestamp_seconds") == first


def test_a_discovery_that_names_a_unit_twice_polls_it_once(bench: Bench) -> None:
    bench.source.units = [ONE, ONE]
    assert len(bench.rounds.discover()) == 1
    assert Discovery(()).troubles == ()
