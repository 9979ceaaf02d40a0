"""The collector of reports with its rounds, as the service has them, in time that the test moves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collectors.reports import Reports
from collectors.reports.collector import ReportsConfig
from exporter.clock import FixedClock
from exporter.contract import Context
from exporter.exposition import Exposition
from exporter.hooks import Hook, NotUnderstood
from exporter.rendering import Format
from exporter.rounds.round import CollectorRounds
from exporter.selfmetrics import SelfMetrics
from exporter.store.sql import SqlStore
from tests.support.stores import ready_store

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
SECRET = "report-secret-4Kd2"


class Told:
    """Reports in, an exposition out."""

    def __init__(self, folder: Path, **block: Any) -> None:
        self.clock = FixedClock(NOW)
        self.store = SqlStore(ready_store(folder))
        metrics, self._exposition = SelfMetrics("0"), Exposition()
        page = self._exposition.page(Reports.name, Reports.families)
        self._exposition.show([Reports.name])
        context = Context(
            page=page, clock=self.clock, api=metrics.observer("reports"), stopping=threading.Event()
        )
        given = {"hooks": {"secret": SECRET}} | block
        self.collector = Reports(ReportsConfig.model_validate(given), context)
        self.rounds = CollectorRounds(self.collector, page, self.store, metrics, self.clock)
        self.rounds.discover()

    def hook(self, body: bytes, **headers: str) -> Hook:
        """A request that came now."""
        return Hook(
            {name.replace("_", "-"): value for name, value in headers.items()}, body, self.clock.now()
        )

    def report(self, **report: Any) -> None:
        """Have a report heard; project and run are ``acme/p`` and 1 unless given."""
        given = {"project": "acme/p", **({} if "key" in report else {"run_id": 1}), **report}
        for news in self.collector.read_hook(self.hook(json.dumps(given).encode())):
            if self.rounds.receive(news.unit, news.batch):
                state = self.rounds.state(news.unit.key)
                assert state
                self.rounds.visit(state)

    def refused(self, **report: Any) -> str:
        """Why a report is not understood."""
        with pytest.raises(NotUnderstood) as caught:
            self.report(**report)
        return str(caught.value)

    def after(self, seconds: float) -> Told:
        """Itself, some time later."""
        self.clock.advance(seconds)
        return self

    def time(self, seconds: float) -> str:
        """*seconds* after the start, as a report writes it."""
        return (NOW + timedelta(seconds=seconds)).isoformat()

    def lines(self, family: str) -> list[str]:
        """The samples of *family* that are not 0, without the name and the provider."""
        text = b"".join(self._exposition.gather(Format.TEXT, gzip=False).pieces).decode()
        found = [line for line in text.splitlines() if line.startswith(f"{family}{{") and line[-4:] != " 0.0"]
        return [line.removeprefix(family).replace('provider="generic",', "") for line in found]


@pytest.fixture
def told_of(tmp_path: Path) -> Iterator[Callable[..., Told]]:
    """Makes the collector with other options."""
    made: list[Told] = []

    def make(**block: Any) -> Told:
        made.append(Told(tmp_path, **block))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


@pytest.fixture
def told(told_of: Callable[..., Told]) -> Told:
    return told_of()
