'''What a collector of your own imports: the parts of ci-exporter that stay stable.

Install a package with an entry point in the group ``ci_exporter.collectors``, and its collector is found,
configured under its name, polled, and shown beside the others::

    [project.entry-points."ci_exporter.collectors"]
    coffee = "coffee_metrics:Coffee"

A complete one, ``coffee_metrics.py``::

    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric
    from pydantic import Field

    from ci_exporter import Batch, Collector, PolledConfig, Position, Unit, gauge

    CUPS = gauge("coffee_cups", "Cups left in the pot, at the last poll.", ("kitchen",))


    class CoffeeConfig(PolledConfig):
        kitchen: str = Field(default="ground floor", description="whose pot to look at")


    class Coffee(Collector[CoffeeConfig]):
        """Coffee that is left."""

        name = "coffee"
        config_model = CoffeeConfig
        families = (CUPS,)

        def poll(self, unit: Unit, position: Position) -> Batch:
            """Ask the pot."""
            cups = 4.0
            return Batch(samples={CUPS: [CUPS.sample(cups, kitchen=self.config.kitchen)]})

        def collect(self) -> Iterator[Metric]:
            return self.context.page.collect()

A collector of a CI system returns ``Batch(runs=…, jobs=…)`` instead, lists its projects in ``discover()``,
and turns what the store knows into samples in ``unit_samples()``: the store then counts each finished
execution once. ``poll`` runs in several threads, one per unit at a time; a scrape only reads memory. Times
are aware ``datetime`` values. Errors: :class:`SourceError` fails one poll, :class:`UnitUnavailable` sets one
unit aside, :class:`Unauthorized` stops polling until the credentials change, :class:`ConfigError` refuses a
configuration. A collector that also is an :class:`AcceptsHooks` is told by its source what happened.
'''

from typing import TYPE_CHECKING, Any

from exporter.contract import (
    Backfills,
    Batch,
    Collector,
    CollectorConfig,
    Context,
    Demonstrates,
    DemoSource,
    Discovery,
    Explains,
    Known,
    Observation,
    Page,
    PolledConfig,
    Position,
    Schedule,
    Trouble,
    Unit,
    UnitTrouble,
)
from exporter.errors import ConfigError, SourceError, Stopped, Unauthorized, UnitUnavailable
from exporter.families import Distribution, Family, Sample, Samples, counter, gauge, histogram
from exporter.hooks import AcceptsHooks, Hook, HookNews, NotUnderstood
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status
from exporter.rounds.backoff import Backoff, jittered
from exporter.runnermetrics import RESULT_TO_STATUS, FetchResult, JobStatus, RunnerMetrics

if TYPE_CHECKING:
    from exporter.web.embedded import MetricsServer

__all__ = [
    "RESULT_TO_STATUS",
    "AcceptsHooks",
    "Backfills",
    "Backoff",
    "Batch",
    "Collector",
    "CollectorConfig",
    "ConfigError",
    "Context",
    "DemoSource",
    "Demonstrates",
    "Discovery",
    "Distribution",
    "Explains",
    "Family",
    "FetchResult",
    "Hook",
    "HookNews",
    "JobRun",
    "JobStatus",
    "Known",
    "MetricsServer",
    "NotUnderstood",
    "Observation",
    "Page",
    "PipelineRun",
    "PolledConfig",
    "Position",
    "RefKind",
    "RunnerMetrics",
    "Sample",
    "Samples",
    "Schedule",
    "SourceError",
    "Status",
    "Stopped",
    "Trouble",
    "Unauthorized",
    "Unit",
    "UnitTrouble",
    "UnitUnavailable",
    "counter",
    "gauge",
    "histogram",
    "jittered",
]


def __getattr__(name: str) -> Any:
    # Late: a poller that brings its metrics to a server of its own needs none of ours.
    if name == "MetricsServer":
        from exporter.web.embedded import MetricsServer

        return MetricsServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
