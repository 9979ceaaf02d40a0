"""The parts that work on one store: registry, exposition, collectors and their rounds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from exporter import __version__
from exporter.clock import Clock, SystemClock
from exporter.config.load import Config
from exporter.contract import Collector, CollectorConfig, Context
from exporter.errors import ConfigError, Problem
from exporter.exposition import Exposition
from exporter.model.history import History
from exporter.plugins import collector_classes
from exporter.registry import Registry
from exporter.rounds.round import CollectorRounds
from exporter.selfmetrics import SelfMetrics
from exporter.store.base import Store
from exporter.store.remembering import RememberedHistory

log = logging.getLogger(__name__)


def _take_over(collector: Collector[Any], old: Collector[Any]) -> None:
    try:
        collector.take_over(old)
    except Exception:
        # A collector's bug: it begins anew, and the reload goes on.
        log.exception("collector could not take over", extra={"collector": collector.name})


def close_all(collectors: Iterable[Collector[Any]]) -> None:
    """Have *collectors* give back their connections; one that cannot is logged, and the others do."""
    for collector in collectors:
        try:
            collector.close()
        except Exception:
            log.exception("collector could not be closed", extra={"collector": collector.name})


class Parts:
    """Registry, exposition and collectors on one store: what every command but `check` needs."""

    def __init__(
        self, config: Config, store: Store, clock: Clock | None = None, *, rehearsal: bool = False
    ) -> None:
        self.store = store
        self.rehearsal = rehearsal
        self.clock = clock or SystemClock()
        self.stopping = threading.Event()
        self.metrics = SelfMetrics(__version__)
        capacity = config.settings.engine.capacity
        self.metrics.work.capacity = lambda: (
            capacity * max(1, len(self.rounds))
        )  # an engine has lanes as well
        store.committing = self.metrics.work.report_state
        store.providers = self.providers
        self.exposition = Exposition(max_series_per_family=config.settings.metrics.max_series_per_family)
        self.registry = Registry(self.exposition, self.metrics)
        self.collectors: dict[str, Collector[Any]] = {}
        self.rounds: list[CollectorRounds] = []
        self.history: History = RememberedHistory(store.history(self.providers))
        self.wake: Callable[[str, str], None] = lambda _collector, _key: None  # the engine's, once it runs
        try:
            for collector in self.build(config).values():
                self._register(collector)
        except BaseException:
            store.close()
            raise

    def build(self, config: Config) -> dict[str, Collector[Any]]:
        """New collectors as *config* wants them; nothing is registered yet.

        Raises:
            ConfigError: one cannot be built, or two declare the same metric.
        """
        classes = collector_classes()
        built: dict[str, Collector[Any]] = {}
        problems: list[Problem] = []
        for name, block in config.collectors.items():
            try:
                if block.enabled:
                    built[name] = self._collector(classes[name], block, config)
            except ConfigError as error:
                problems += map(config.located, error.problems)
        if problems:
            raise ConfigError(problems)
        rehearsal = Registry(Exposition(), SelfMetrics(__version__))
        for collector in built.values():
            rehearsal.add(collector)
        return built

    def _collector(self, cls: type[Collector[Any]], block: CollectorConfig, config: Config) -> Collector[Any]:
        context = Context(
            page=self.exposition.page(cls.name, cls.families),
            clock=self.clock,
            api=self.metrics.observer(cls.name),
            stopping=self.stopping,
            fetch_timeout_seconds=config.settings.engine.fetch_timeout_seconds,
            version=__version__,
            timezone=config.settings.timezone,
            rehearsal=self.rehearsal,
            max_series_per_family=config.settings.metrics.max_series_per_family,
            wake=lambda key: self.wake(cls.name, key),
            work=self.metrics.work,
        )
        return cls(block, context)

    def _register(self, collector: Collector[Any]) -> None:
        """Add one collector to the registry and, if it is polled, to the rounds."""
        self.registry.add(collector)
        self._begin(collector)

    def _begin(self, collector: Collector[Any]) -> None:
        """Let a registered collector fill its page and, if it is polled, have rounds."""
        page = self.exposition.page(collector.name, collector.families)
        # Here, not when it is built: a reload that is refused must not touch what is shown.
        page.declare(collector.declared)
        self.collectors[collector.name] = collector
        if collector.polled:
            self.rounds.append(CollectorRounds(collector, page, self.store, self.metrics, self.clock))

    def exchange(self, collectors: dict[str, Collector[Any]]) -> None:
        """Go on with *collectors*; what those of the same name expose stays until their next poll."""
        old = self.collectors
        for name in old.keys() - collectors.keys():
            self.registry.discard(name)
            self.metrics.forget(name)
        self.collectors, self.rounds = {}, []
        # First those that stay: a new one may want a metric that one of them has no longer.
        for name in sorted(collectors, key=lambda name: name not in old):
            collector = collectors[name]
            if name not in old:
                self._register(collector)
                continue
            if collector.target != old[name].target:
                # Another instance: what is shown of the old one would go on looking alive.
                self.exposition.page(name, ()).clear()
            else:
                _take_over(collector, old[name])
            self.registry.replace(collector)
            self._begin(collector)

    def providers(self) -> dict[str, str]:
        """``target -> provider`` of the collectors that keep runs, as they are configured now."""
        return {
            collector.target: collector.provider
            for collector in list(self.collectors.values())
            if collector.polled and collector.provider
        }

    def close(self) -> None:
        """Let go of all connections."""
        close_all(self.collectors.values())
        self.store.close()
