"""Collectors that do what a test says, and the registry around them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from prometheus_client.metrics_core import Metric

from exporter.clock import Clock, FixedClock
from exporter.contract import Batch, Collector, CollectorConfig, Context, Discovery, Position, Unit
from exporter.exposition import Exposition
from exporter.families import Family
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
