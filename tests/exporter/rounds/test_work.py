"""What the engine counts of its own work: polls, jobs, backoff, commits, and a stop that is no error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from exporter.contract import Batch, Unit
from exporter.errors import SourceError, Stopped, StoreError, Unauthorized, UnitUnavailable
from exporter.families import Sample
from exporter.rounds.round import CollectorRounds
from exporter.store.sql import SqlStore
from tests.support.engine import FAST, Service, wait_until
from tests.support.fakes import DEPTH, Source, World, run
from tests.support.process import PATIENCE

ONE, TWO = Unit("1", "group/app"), Unit("2", "group/lib")


class Lab:
    """A fake source with its rounds on a store, and what the engine counted of it."""

    def __init__(self, store: SqlStore) -> None:
        self.world = World()
        self.store = store
        self.work = self.world.metrics.work
        store.committing = self.work.report_state
        self.source: Any = self.world.build(Source)
        self.world.registry.add(self.source)
        page = self.world.exposition.page(self.source.name, self.source.families)
        self.rounds = CollectorRounds(self.source, page, store, self.world.metrics, self.world.clock)

    def poll(self, *answers: Any, key: str = "1") -> None:
        """Poll a unit once for each of *answers*."""
        for answer in answers:
            self.source.answers[key] = [answer]
            state = self.rounds.state(key)
            assert state
            self.rounds.visit(state)

    def value(self, name: str, **labels: str) -> float | None:
        for metric in self.work.collect():
            for sample in metric.samples:
                if sample.name == f"ci_exporter_{name}" and sample.labels == labels:
                    return sample.value
        return None

    def fetched(self) -> dict[str, float | None]:
        results = ("task", "empty", "error")
        return {r: self.value("poll_fetch_total", collector="fake", result=r) for r in results}

    def jobs(self) -> dict[str, float | None]:
        found = {
            status: self.value("job_total", collector="fake", status=status)
            for status in ("success", "failure", "cancelled", "skipped", "unknown")
        }
        return {status: number for status, number in found.items() if number}

    def backoff(self) -> float | None:
        return self.value("poll_backoff_seconds", collector="fake")


@pytest.fixture
def lab(sqlite_url: str) -> Iterator[Lab]:
    store = SqlStore(sqlite_url)
    one = Lab(store)
    one.source.units = [ONE]
    one.rounds.discover()
    yield one
    store.close()


def test_series_are_there_before_the_first_poll(lab: Lab) -> None:
    assert lab.fetched() == {"task": 0, "empty": 0, "error": 0}
    assert lab.backoff() is None, "nobody knows it yet"


def test_polls_count_by_what_they_brought(lab: Lab) -> None:
    lab.poll(Batch(runs=(run(1),)), Batch(runs=(run(1),)), Batch(), SourceError("no"), Batch(samples={}))
    assert lab.fetched() == {"task": 2, "empty": 2, "error": 1}
    assert lab.value("poll_fetch_duration_seconds_count", collector="fake") == 5


def test_a_long_polls_deadline_is_empty_and_not_observed(lab: Lab) -> None:
    lab.poll(Batch(waited_out=True), Batch())
    assert lab.fetched() == {"task": 0, "empty": 2, "error": 0}
    assert lab.value("poll_fetch_duration_seconds_count", collector="fake") == 1


def test_each_poll_and_discovery_is_a_job(lab: Lab) -> None:
    lab.poll(Batch(), SourceError("no"), UnitUnavailable("gone", reason="not_found"), ValueError("bug"))
    assert lab.jobs() == {"success": 2, "failure": 3}
    assert lab.value("job_duration_seconds_count", collector="fake") == 5


def test_a_poll_that_brought_less_than_it_should_failed(lab: Lab) -> None:
    part = Batch(samples={DEPTH: [Sample(("a",), 1.0)]}, failure=SourceError("half"))
    lab.poll(part)
    assert lab.fetched() == {"task": 0, "empty": 0, "error": 1}
    assert lab.jobs() == {"success": 1, "failure": 1}


def test_refused_credentials_are_an_error(lab: Lab) -> None:
    lab.poll(Unauthorized("401"))
    assert lab.fetched() == {"task": 0, "empty": 0, "error": 1}
    assert lab.jobs() == {"success": 1, "failure": 1}


def test_a_shutdown_is_no_error(lab: Lab) -> None:
    lab.poll(Stopped("stopping"))
    lab.world.stopping.set()
    lab.poll(SourceError("the connection was closed"))
    assert lab.fetched() == {"task": 0, "empty": 0, "error": 0}
    assert lab.jobs() == {"success": 1, "cancelled": 2}


def test_a_discovery_that_a_shutdown_cuts_short_is_no_failure(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> Any:
        raise SourceError("the connection was closed")

    lab.source.units = refuse
    lab.world.stopping.set()
    assert lab.rounds.discover() == []
    assert lab.jobs() == {"success": 1, "cancelled": 1}
    assert "discovery failed" not in caplog.text


def test_a_discovery_that_fails_is_a_failed_job_and_no_poll(lab: Lab) -> None:
    def refuse() -> Any:
        raise SourceError("no")

    lab.source.units = refuse
    with pytest.raises(SourceError):
        lab.rounds.discover()
    assert lab.jobs() == {"success": 1, "failure": 1}
    assert lab.fetched() == {"task": 0, "empty": 0, "error": 0}


def test_every_commit_is_counted_and_one_that_fails_as_an_error(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lab.value("report_state_total", result="success")
    assert before == 1, "the discovery"
    lab.poll(Batch(runs=(run(1),)))
    assert lab.value("report_state_total", result="success") == 2
    lab.poll(Batch(), Batch(runs=(run(1),)))
    saved = lab.value("report_state_total", result="success")
    monkeypatch.setattr("exporter.store.sql.Saver", lambda *_: (_ for _ in ()).throw(StoreError("disk full")))
    lab.poll(Batch(runs=(run(2),)))
    assert lab.value("report_state_total", result="error") == 1
    assert lab.value("report_state_total", result="success") == saved
    assert lab.value("report_state_duration_seconds_count") == (saved or 0) + 1
    assert lab.fetched()["error"] == 1


def test_the_backoff_grows_while_there_is_no_news_and_returns_to_the_base_with_it(lab: Lab) -> None:
    seen = []
    for answer in (Batch(runs=(run(1),)), Batch(), Batch(), Batch(), Batch(), Batch(), Batch(runs=(run(2),))):
        lab.poll(answer)
        seen.append(lab.backoff())
    assert seen == [10, 10, 20, 40, 80, 80, 10]


def test_the_backoff_is_that_of_the_unit_that_is_polled_most_often(lab: Lab) -> None:
    lab.source.units = [ONE, TWO]
    lab.rounds.discover()
    lab.poll(*[Batch()] * 4)
    assert lab.backoff() == 80, "of the only one that was polled"
    lab.poll(Batch(runs=(run(1),)), key="2")
    assert lab.backoff() == 10
    lab.poll(*[Batch()] * 3, key="2")
    assert lab.backoff() == 40


def test_the_backoff_of_a_unit_that_vanished_is_not_kept(lab: Lab) -> None:
    lab.source.units = [ONE, TWO]
    lab.rounds.discover()
    lab.poll(*[Batch()] * 4)
    lab.poll(Batch(runs=(run(1),)), key="2")
    assert lab.backoff() == 10
    lab.source.units = [ONE]
    lab.rounds.discover()
    assert lab.backoff() == 80


def test_the_backoff_of_a_unit_that_cannot_be_read_is_the_longest(lab: Lab) -> None:
    lab.poll(Batch(), UnitUnavailable("gone", reason="not_found"))
    assert lab.backoff() == 80
    lab.poll(Batch(runs=(run(1),)))
    assert lab.backoff() == 10


def test_the_backoff_is_written_only_when_it_changes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[float] = []
    monkeypatch.setattr(lab.work, "backoff", lambda seconds, collector: written.append(seconds))
    lab.poll(*[Batch()] * 20)
    assert written == [10, 20, 40, 80]


# -- on the engine -------------------------------------------------------------------------------


def test_work_under_way_and_capacity_are_read_at_the_scrape(sqlite_url: str) -> None:
    service = Service(sqlite_url, capacity=2)
    work = service.world.metrics.work
    gate, inside = threading.Event(), threading.Semaphore(0)

    def wait() -> Batch:
        inside.release()
        gate.wait(PATIENCE)
        return Batch()

    def read() -> dict[str, float]:
        return {sample.name: sample.value for metric in work.collect() for sample in metric.samples}

    lane = Unit("3", "group/lane", lane="db")
    source = service.source("fake", ONE, TWO, lane, lane_capacity=lambda *_: 2)
    source.answers = {key: [wait] for key in "123"}
    service.start(source)
    for _ in range(3):
        assert inside.acquire(timeout=PATIENCE)
    assert read()["ci_exporter_capacity"] == 4, "two for all, two of the lane"
    assert read()["ci_exporter_job_running"] == 3
    assert read()["ci_exporter_job_capacity_utilization_ratio"] == 0.75
    gate.set()
    service.stop()
    assert read()["ci_exporter_job_running"] == 0
    service.store.close()


def test_a_poll_that_nobody_wants_any_more_is_skipped(sqlite_url: str) -> None:
    service = Service(sqlite_url, capacity=1)
    work = service.world.metrics.work
    gate = threading.Event()
    source = service.source("fake", ONE, TWO)
    source.answers = {"1": [lambda: (gate.wait(PATIENCE), Batch())[1]]}
    source.timing = FAST
    service.start(source)
    wait_until(lambda: source.polls == ["1"], "the first poll")
    state = service.engine.rounds["fake"].state("2")
    assert state
    service.engine.rounds["fake"]._units._states.pop("2")
    gate.set()

    def skipped() -> float:
        return next(
            sample.value
            for metric in work.collect()
            for sample in metric.samples
            if sample.labels == {"collector": "fake", "status": "skipped"}
        )

    service.engine._visit(service.engine.rounds["fake"], state)
    assert skipped() >= 1
    service.stop()
    service.store.close()
