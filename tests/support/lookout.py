"""The rules of alerts at work on a real store, on a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from exporter.clock import FixedClock
from exporter.config.alerts import AlertsSettings
from exporter.contract import Batch, Unit
from exporter.model.alerts import Notice
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status
from exporter.runnermetrics import RunnerMetrics
from exporter.sinkmetrics import SinkMetrics
from exporter.sinks.alerts.sink import AlertsSink, Reminders, Watching
from exporter.sinks.base import ShownValue, SinkContext
from exporter.store.notices import _notice
from exporter.store.sql import SqlStore
from exporter.store.tables import notices

START = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday
TARGET = "forge:host"
WAIT = 10


@dataclass
class FakeShown:
    """What a scrape would show, as a test says."""

    series: list[ShownValue] = field(default_factory=list)
    is_ready: bool = True

    def ready(self) -> bool:
        return self.is_ready

    def values(self, names: Collection[str]) -> list[ShownValue]:
        return [one for one in self.series if one.name in names]

    def show(self, name: str, value: float, **labels: str) -> None:
        """Put one sample in the place of the one with the same labels."""
        self.hide(name, **labels)
        self.series.append(ShownValue(name, labels, value))

    def hide(self, name: str, **labels: str) -> None:
        """Take one sample away."""
        self.series = [one for one in self.series if (one.name, one.labels) != (name, labels)]


class Lookout:
    """One process after another that watches *rules*; ``told`` is what people were told since last asked.

    ``reminded`` is what channels that forget are told again and again.
    """

    def __init__(
        self, open_store: Callable[[], SqlStore], *rules: dict[str, Any], zone: tzinfo = UTC, **settings: Any
    ) -> None:
        self._open = open_store
        self.clock = FixedClock(START)
        self.zone = zone
        self.shown = FakeShown()
        self.registry = CollectorRegistry()
        self.metrics = SinkMetrics(self.registry)
        self.reminded: Reminders = {}
        self._units: dict[str, int] = {}
        self._runs = 0
        self._read = 0
        self.configure(*rules, **settings)
        self.store = open_store()
        self.store.providers = lambda: {TARGET: "forge"}
        self.store.outbox.subscribe(AlertsSink.name, AlertsSink.streams)
        self.project("acme/app")
        self.begin().step()

    def configure(self, *rules: dict[str, Any], **settings: Any) -> None:
        """Other rules from the next beginning on."""
        base: dict[str, Any] = {"channels": channels("chat"), "group_wait_seconds": WAIT}
        if rules:
            base["rules"] = [{"name": "rule", **rule} for rule in rules]
        self.settings = AlertsSettings.model_validate(base | settings)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def begin(self) -> Watching:
        """What a process does first."""
        context = SinkContext(
            store=self.store,
            clock=self.clock,
            metrics=self.metrics,
            work=RunnerMetrics(version="0", per_collector=True),
            zone=self.zone,
            shown=self.shown,
        )
        self.watching = Watching(self.settings, context, self._remind)
        return self.watching

    def _remind(self, standing: Reminders) -> None:
        self.reminded = standing

    def restart(self) -> None:
        """The process was killed, and another one begins."""
        self.store = self._open()
        self.store.providers = lambda: {TARGET: "forge"}
        self.begin()

    def step(self) -> None:
        """Let it read and look until nothing is waiting."""
        while self.watching.step():
            pass

    def wait(self, seconds: float = WAIT, step: float = 5) -> None:
        """Let time pass in steps, the first at once."""
        self.step()
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            self.step()

    def told(self) -> list[str]:
        """``kind: title`` of the new messages on the channel ``chat``."""
        return [f"{one.kind}: {one.title}" for one in self.messages()]

    def messages(self, channel: str = "chat") -> list[Notice]:
        """The new messages."""
        with self.store._read() as connection:
            mine = sa.select(notices).where(notices.c.channel == channel, notices.c.number > self._read)
            new = [_notice(row) for row in connection.execute(mine.order_by(notices.c.number))]
        self._read = max([self._read, *(one.number for one in new)])
        return new

    # -- what happens ----------------------------------------------------------------------------

    def project(self, name: str, default_branch: str = "main") -> None:
        """One more project, read up to now."""
        wanted = [Unit(key, key, default_branch=default_branch) for key in (*self._units, name)]
        stored = self.store.register(TARGET, wanted, backfill_days=0, now=START)
        self._units = {unit.unit.key: unit.id for unit in stored}
        self.store.save(self._units[name], Batch(cursor="begin"), self.now)

    def forget(self, name: str) -> None:
        """The project is watched no more."""
        del self._units[name]
        wanted = [Unit(key, key, default_branch="main") for key in self._units]
        self.store.register(TARGET, wanted, backfill_days=0, now=self.now)

    def run(
        self, status: str = "failed", *jobs: JobRun, project: str = "acme/app", run_id: int = 0, **facts: Any
    ) -> int:
        """Something is seen of a run, a new one unless it is named; returns its number."""
        batch = facts.pop("batch", {})
        run = self.make(status, run_id, **facts)
        placed = tuple(_of(job, run) for job in jobs)
        self.save(project, runs=(run,), jobs=placed, **batch)
        return run.run_id

    def make(self, status: str, run_id: int = 0, **facts: Any) -> PipelineRun:
        """A run that was created a minute ago."""
        self._runs = max(self._runs + 1, run_id)
        number = run_id or self._runs
        ended = self.now if Status(status).finished else None
        created = START + timedelta(seconds=number)
        values: dict[str, Any] = dict(
            run_id=number,
            ref="main",
            ref_kind=RefKind(facts.pop("ref_kind", "branch")),
            source="push",
            status=Status(status),
            created_at=created,
            updated_at=self.now,
            started_at=None if status == "pending" else created,
            finished_at=ended,
            duration_seconds=60.0 if ended else None,
            queue_seconds=None if status == "pending" else 0.0,
            username="ada",
            web_url=f"https://forge/runs/{number}",
            sha="0123456789abcdef",
            commit_title="Fix it",
        )
        return PipelineRun(**(values | facts))

    def save(self, project: str, **batch: Any) -> None:
        """One batch of the project."""
        self.store.save(self._units[project], Batch(**batch), self.now)

    def rows(self, table: str = "alerts") -> list[Any]:
        """What the store holds."""
        with self.store._read() as connection:
            return list(connection.execute(sa.text(f"SELECT * FROM {table}")))

    def active(self) -> dict[str, float]:
        """``rule -> alerts that stand``, as a scrape shows them."""
        return {
            sample.labels["rule"]: sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == "ci_exporter_alerts_active"
        }


def channels(*names: str) -> dict[str, Any]:
    """Channels of these names, over which nothing is sent."""
    return {name: {"url": "json://127.0.0.1"} for name in names}


_jobs = iter(range(1, 10**9))


def job(name: str, status: str = "failed", **facts: Any) -> JobRun:
    """A job for :meth:`Lookout.run`."""
    values: dict[str, Any] = dict(
        job_id=next(_jobs),
        run_id=0,
        stage="test",
        name=name,
        status=Status(status),
        created_at=START,
        started_at=START,
        failure_reason="script_failure" if status == "failed" else "",
        web_url=f"https://forge/jobs/{name}",
        queue_seconds=0.0,
    )
    return JobRun(**(values | facts))


def _of(job: JobRun, run: PipelineRun) -> JobRun:
    ended = run.updated_at if job.status.finished else None
    return replace(job, run_id=run.run_id, created_at=run.created_at, finished_at=ended)
