"""Collectors that do what a test says, and the registry around them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client.metrics_core import Metric

from exporter import ci_families
from exporter.clock import Clock, FixedClock
from exporter.contract import (
    Batch,
    Collector,
    CollectorConfig,
    Context,
    Discovery,
    Position,
    Schedule,
    Unit,
    UnitTrouble,
)
from exporter.exposition import Exposition
from exporter.families import Family, Sample, Samples, foreign, gauge
from exporter.model.runs import PipelineRun, RefKind, Status
from exporter.model.views import UnitView
from exporter.registry import Registry
from exporter.selfmetrics import SelfMetrics

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class World:
    """An exposition with its registry and self metrics, and collectors to put in."""

    def __init__(self, *, clock: Clock | None = None, cap: int = 50_000) -> None:
        self.clock = clock or FixedClock(NOW)
        self.metrics = SelfMetrics("0.0.0")
        self.exposition = Exposition(max_series_per_family=cap)
        self.registry = Registry(self.exposition, self.metrics)
        self.stopping = threading.Event()

    def context(self, name: str, families: Iterable[Family]) -> Context:
        return Context(
            page=self.exposition.page(name, tuple(families)),
            clock=self.clock,
            api=self.metrics.observer(name),
            stopping=self.stopping,
        )

    def build(self, cls: type[Collector[Any]], **attributes: Any) -> Collector[Any]:
        """A collector of a fresh subclass of *cls* with *attributes* (name, families…)."""
        made = type(cls.__name__, (cls,), attributes)
        return made(CollectorConfig(), self.context(made.name, made.families))

    def polled(self, name: str, *families: Family) -> Any:
        """A registered collector that is polled, and whose page tests fill by hand."""
        collector = self.build(PageCollector, name=name, families=families)
        self.registry.add(collector)
        return collector

    def live(self, name: str, *families: Family, read: Callable[[], Iterable[Metric]]) -> Any:
        """A registered collector that is read at each scrape."""
        collector = self.build(
            PageCollector,
            name=name,
            families=families,
            polled=False,
            collect=lambda _self: iter(list(read())),
        )
        self.registry.add(collector)
        return collector

    def page(self, name: str) -> Any:
        return self.exposition._pages[name]


class PageCollector(Collector[CollectorConfig]):
    """Shows its page; polls and discovers what its attributes say."""

    name = "fake"
    config_model = CollectorConfig
    families = ()

    def collect(self) -> Iterator[Metric]:
        return self.context.page.collect()

    def poll(self, unit: Unit, position: Position) -> Batch:
        return Batch()

    def discover(self) -> Discovery:
        return Discovery(())


def value(world: World, name: str, **labels: str) -> float | None:
    """One sample's value as a scrape sees it."""
    return world.registry.get_sample_value(name, labels)


class Source(Collector[CollectorConfig]):
    """A CI collector whose answers a test sets: what to discover, and what each poll of a unit brings.

    ``answers`` maps a unit's key to what its next polls return, raise or call; the last one repeats.
    """

    name = "fake"
    provider = "fake"
    config_model = CollectorConfig
    families = ci_families.FAMILIES

    def __init__(self, config: CollectorConfig, context: Context) -> None:
        super().__init__(config, context)
        self.units: Any = [Unit("1", "group/app")]
        self.troubles: tuple[UnitTrouble, ...] = ()
        self.answers: dict[str, list[Any]] = {}
        self.polls: list[str] = []
        self.positions: list[Position] = []
        self.timing = Schedule(10, 80, 1800)
        self.may_ask_again: Any = False
        self.history_days = 0

    @property
    def schedule(self) -> Schedule:
        return self.timing

    @property
    def backfill_days(self) -> int:
        return self.history_days

    def discover(self) -> Discovery:
        return Discovery(tuple(_said(self.units)), self.troubles)

    def poll(self, unit: Unit, position: Position) -> Batch:
        self.polls.append(unit.key)
        self.positions.append(position)
        answers = self.answers.setdefault(unit.key, [Batch()])
        answer: Batch = _said(answers.pop(0) if len(answers) > 1 else answers[0])
        return answer

    def collect(self) -> Iterator[Metric]:
        return self.context.page.collect()

    def unit_samples(self, view: UnitView) -> Samples | None:
        return ci_families.unit_samples(view, ci_families.RunOptions(self.provider))

    def credentials_changed(self) -> bool:
        return bool(_said(self.may_ask_again))


DEPTH = gauge("ci_depth", "Depth.", ("queue",))
EVENTS = foreign("ci_events_total", "counter", "Events.", ("kind",))


class Kept(Source):
    """A source without runs: its polls bring samples, and events that are kept as totals."""

    name = "kept"
    families = (DEPTH, EVENTS)

    def unit_samples(self, view: UnitView) -> Samples | None:
        return {EVENTS: [Sample(total.labels, total.value) for total in view.totals]}


def _said(answer: Any) -> Any:
    """*answer* itself, what it returns, or what it raises."""
    if isinstance(answer, Exception):
        raise answer
    return answer() if callable(answer) else answer


def run(
    run_id: int, status: Status = Status.SUCCESS, *, ref: str = "main", at: datetime = NOW
) -> PipelineRun:
    """A run of a branch, created a minute before *at* and last changed then."""
    return PipelineRun(
        run_id=run_id,
        ref=ref,
        ref_kind=RefKind.BRANCH,
        source="push",
        status=status,
        created_at=at - timedelta(minutes=1),
        updated_at=at,
        finished_at=at if status.finished else None,
        duration_seconds=30.0 if status.finished else None,
    )
