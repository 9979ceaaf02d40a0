"""Filling history: saved like any poll, exact when repeated, moving nothing that live polling needs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from exporter.contract import Batch, Known, Unit
from exporter.errors import ExporterError, SourceError, Stopped
from exporter.model.runs import Status
from exporter.rounds.backfill import Progress, backfill
from exporter.store.sql import SqlStore
from tests.support.fakes import NOW, Source, World, run

ONE, TWO = Unit("1", "group/app"), Unit("2", "group/lib")
START = NOW - timedelta(days=10)


class History(Source):
    """A source whose past a test sets: ``past`` maps a unit's key to batches, errors or calls."""

    past: Any = None

    def backfill(self, unit: Unit, start: datetime, end: datetime, known: Known) -> Iterator[Batch]:
        assert (start, end) == (START, NOW)
        for batch in self.past.get(unit.key, []):
            if isinstance(batch, Exception):
                raise batch
            yield batch(known) if isinstance(batch, Callable) else batch  # type: ignore[arg-type]


@pytest.fixture
def store(sqlite_url: str) -> Iterator[SqlStore]:
    store = SqlStore(sqlite_url)
    yield store
    store.close()


def source(days: int = 5, **past: list[Any]) -> Any:
    made: Any = World().build(History, name="fake")
    made.units = [ONE, TWO]
    made.history_days = days
    made.past = {key.removeprefix("u"): batches for key, batches in past.items()}
    return made


def fill(collector: Any, store: SqlStore, report: Callable[[Progress], None] = lambda _: None) -> Progress:
    return backfill(collector, store, start=START, end=NOW, capacity=2, report=report)


def runs_total(store: SqlStore) -> float:
    """All counted runs of unit 1, which is made visible first."""
    store.save(1, Batch(), NOW)
    return sum(total.value for total in store.views([1])[0].totals if total.family == "ci_pipeline_runs")


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def test_runs_since_counting_began_count_and_older_ones_are_history(store: SqlStore) -> None:
    collector = source(
        u1=[Batch(runs=(run(1, at=ago(9)), run(2, at=ago(4)))), Batch(runs=(run(3, at=ago(1)),))]
    )
    progress = fill(collector, store)
    assert progress == Progress(units=2, units_done=2, runs=3, counted=2, failed=0)
    assert runs_total(store) == 2
    assert store.views([1])[0].latest[0].run_id == 3


def test_running_it_again_counts_nothing_twice(store: SqlStore) -> None:
    collector = source(u1=[Batch(runs=(run(1, at=ago(1)), run(2, Status.FAILED, at=ago(2))))])
    fill(collector, store)
    again = fill(collector, store)
    assert (again.runs, again.counted) == (0, 0)
    assert runs_total(store) == 2


def test_it_goes_on_where_it_was_interrupted(store: SqlStore) -> None:
    known: list[dict[int, datetime]] = []

    def second(what: Known) -> Batch:
        known.append(what.updated_at([1, 2]))
        return Batch(runs=(run(2, at=ago(1)),))

    collector = source(u1=[Batch(runs=(run(1, at=ago(2)),)), SourceError("cut off")])
    assert fill(collector, store).failed == 1
    collector.past = {"1": [Batch(runs=(run(1, at=ago(2)),)), second]}
    assert fill(collector, store).failed == 0
    assert known == [{1: ago(2)}]
    assert runs_total(store) == 2


def test_live_polling_stands_where_it_stood(store: SqlStore) -> None:
    fill(source(u1=[Batch(cursor="past", runs=(run(1, at=ago(1)),))]), store)
    position = store.position(1)
    assert (position.cursor, position.caught_up) == (None, False)
    assert store.versions("fake") == {}
    store.save(1, Batch(cursor="live"), NOW)
    fill(source(u1=[Batch(cursor="past", runs=(run(2, at=ago(1)),))]), store)
    assert store.position(1).cursor == "live"
    assert len(store.versions("fake")) == 1


@pytest.mark.parametrize("failure", [SourceError("timeout"), RuntimeError("a bug")])
def test_a_unit_that_fails_is_told_and_the_others_go_on(
    store: SqlStore, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    collector = source(u1=[Batch(runs=(run(1, at=ago(1)),)), failure], u2=[Batch(runs=(run(2, at=ago(1)),))])
    progress = fill(collector, store)
    assert progress == Progress(units=2, units_done=2, runs=2, counted=2, failed=1)
    told = [vars(record) for record in caplog.records if "backfill of a project failed" in record.message]
    assert [record["project"] for record in told] == ["group/app"]
    assert runs_total(store) == 1


def test_progress_is_reported_with_every_batch(store: SqlStore) -> None:
    seen: list[tuple[int, int]] = []
    collector = source(u1=[Batch(runs=(run(number, at=ago(1)),)) for number in (1, 2, 3)])
    fill(collector, store, lambda progress: seen.append((progress.units_done, progress.runs)))
    assert len(seen) == 5
    assert seen[-1] == (2, 3)
    assert seen == sorted(seen)


def test_a_shutdown_ends_it_at_once_and_blames_nobody(
    store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[str] = []

    def note(key: str) -> Callable[[Known], Batch]:
        return lambda _: (begun.append(key), threading.Event().wait(0.01), Batch())[2]

    collector = source(u1=[Batch(runs=(run(1, at=ago(1)),)), Stopped("stopping")])
    collector.units = [ONE, *(Unit(str(number), f"p{number}") for number in range(2, 200))]
    collector.past |= {str(number): [note(str(number))] for number in range(2, 200)}
    with pytest.raises(Stopped):
        fill(collector, store)
    assert len(begun) < 198
    assert "failed" not in caplog.text
    assert runs_total(store) == 1


def test_a_collector_without_history_says_so(store: SqlStore) -> None:
    plain = World().build(Source, name="plain")
    with pytest.raises(ExporterError, match="collector plain has no history to read"):
        fill(plain, store)


def test_units_that_cannot_be_discovered_end_it(store: SqlStore) -> None:
    collector = source()
    collector.units = SourceError("no answer")
    with pytest.raises(SourceError, match="no answer"):
        fill(collector, store)
