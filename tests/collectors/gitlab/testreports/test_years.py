"""A year of pipelines whose suites are renamed all the time: what is kept stays small, and counts exactly."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from collectors._ci import RefSelection
from collectors.gitlab.mapping import ListEntry
from collectors.gitlab.testreports.client import ReportsClient
from collectors.gitlab.testreports.collector import GitLabTests
from collectors.gitlab.testreports.settings import ReportedRefs, ReportsConfig
from exporter.clock import FixedClock
from exporter.contract import Context, Position, Unit
from exporter.exposition import Exposition
from exporter.selfmetrics import SelfMetrics
from exporter.store.sql import SqlStore
from tests.support.stores import ready_store

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
PROJECT = Unit("7", "acme/p", default_branch="main")
DAY = timedelta(days=1)
NONE_SHOWN = ReportedRefs(tags=RefSelection(enabled=False))


class Years:
    """A GitLab with one project: each pipeline reports two suites, one of which has a new name each week."""

    per_page = 100

    def __init__(self) -> None:
        self.pipelines: dict[int, ListEntry] = {}
        self.suites: dict[int, list[str]] = {}

    def run(self, now: datetime, *names: str) -> int:
        number = len(self.pipelines) + 1
        self.suites[number] = list(names)
        self.pipelines[number] = ListEntry(number, "success", f"fix-{number}", "push", now, now, None, None)
        return number

    def touch(self, number: int, now: datetime) -> None:
        """Have a job without tests run again."""
        old = self.pipelines[number]
        self.pipelines[number] = ListEntry(
            number, "success", old.ref, "push", old.created_at, now, None, None
        )

    def changed_pipelines(
        self, project: str, after: datetime, page: int, *, source: str | None
    ) -> list[ListEntry]:
        found = [one for one in self.pipelines.values() if one.updated_at >= after and not source]
        found.sort(key=lambda one: one.updated_at)
        return found[(page - 1) * self.per_page : page * self.per_page]

    def newest_pipelines(self, project: str, scope: str) -> list[ListEntry]:
        return []

    def summary(self, project: str, run_id: int) -> dict[str, Any]:
        suites = [
            {
                "name": name,
                "total_time": 1.0,
                "success_count": 3,
                "failed_count": 0,
                "error_count": 0,
                "skipped_count": 0,
                "build_ids": [run_id * 10 + place],
                "suite_error": None,
            }
            for place, name in enumerate(self.suites[run_id])
        ]
        return {"test_suites": suites}


class Watch:
    """Who polls it into a store of its own."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.gitlab, self.clock = Years(), FixedClock(START)
        self.url = ready_store(folder)
        self.store = SqlStore(self.url)
        metrics, name = SelfMetrics("0"), GitLabTests.name
        page = Exposition().page(name, GitLabTests.families)
        context = Context(page, self.clock, metrics.observer(name), threading.Event())
        self.collector = GitLabTests(ReportsConfig(settle_seconds=0, refs=NONE_SHOWN, **config), context)
        self.collector._client.close()
        self.collector._client = cast(ReportsClient, self.gitlab)
        self.unit = self.store.register(name, [PROJECT], backfill_days=0, now=START)[0].id

    def poll(self) -> int:
        """Poll until there is no more news; the longest cursor on the way."""
        longest, more = 0, True
        while more:
            stored = self.store.position(self.unit)
            position = Position(stored.cursor, stored.counts_from, self.store.known(self.unit))
            batch = self.collector.poll(PROJECT, position)
            self.store.save(self.unit, batch, self.clock.now())
            more = batch.more
            longest = max(longest, len(batch.cursor or ""))
        self.store.outbox.forget(self.clock.now())
        return longest

    def totals(self, family: str) -> dict[tuple[str | None, ...], float]:
        (view,) = self.store.views([self.unit])
        return {total.labels: total.value for total in view.totals if total.family == family}

    def rows(self, table: str) -> int:
        with sqlite3.connect(self.url.removeprefix("sqlite:///")) as database:
            return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.fixture
def watch(tmp_path: Path) -> Any:
    made = Watch(tmp_path, max_suites=12)
    yield made
    made.store.close()


def test_a_year_of_renamed_suites_leaves_room_for_the_next_and_little_behind(watch: Watch) -> None:
    sizes: list[tuple[int, int, int]] = []
    runs = 0
    for week in range(40):
        for _ in range(28):
            watch.gitlab.run(watch.clock.now(), "unit", f"it-{week}")
            runs += 1
            watch.clock.advance(DAY.total_seconds() / 4)
        sizes.append((watch.poll(), watch.rows("told"), watch.rows("totals")))
    assert runs > 1_000
    assert sum(watch.totals("ci_test_reports").values()) == runs
    suites = {labels[2] for labels in watch.totals("ci_test_suite_reports")}
    assert suites == {"unit", *(f"it-{week}" for week in range(40 - 5, 40))}
    assert "it-0" not in watch.store.position(watch.unit).cursor  # type: ignore[operator]
    for first, later in zip(sizes[19], sizes[39], strict=True):
        assert later <= 1.1 * first


def test_years_that_are_read_at_once_leave_no_more_behind_than_those_that_are_watched(tmp_path: Path) -> None:
    watch = Watch(tmp_path, max_suites=12, backfill_days=500)
    watch.unit = watch.store.register("again", [PROJECT], backfill_days=500, now=START)[0].id
    for week in range(40):
        watch.gitlab.run(START + (week - 41) * 7 * DAY, "unit", f"it-{week}")
    watch.poll()
    assert sum(watch.totals("ci_test_reports").values()) == 40
    suites = {labels[2] for labels in watch.totals("ci_test_suite_reports")}
    assert suites == {"unit", *(f"it-{week}" for week in range(40 - 5, 40))}
    watch.store.close()


def test_what_was_counted_and_forgotten_never_counts_again(watch: Watch) -> None:
    numbers = [watch.gitlab.run(watch.clock.now(), "unit") for _ in range(3)]
    watch.clock.advance(60)
    watch.poll()
    for number, days in zip(numbers, (50, 99, 101), strict=True):
        watch.clock.advance((START + days * DAY - watch.clock.now()).total_seconds())
        watch.gitlab.touch(number, watch.clock.now())
        watch.clock.advance(60)
        watch.poll()
        assert watch.totals("ci_test_reports") == {("gitlab", "", "success"): 3}
    assert watch.rows("told") == 0


def test_history_that_is_older_than_what_is_remembered_counts(tmp_path: Path) -> None:
    watch = Watch(tmp_path, backfill_days=300)
    watch.unit = watch.store.register("again", [PROJECT], backfill_days=300, now=START)[0].id
    for days in (250, 150, 50):
        watch.gitlab.run(START - days * DAY, "unit")
    for _ in range(2):
        watch.poll()
        assert watch.totals("ci_test_reports") == {("gitlab", "", "success"): 3}
    watch.store.close()
