"""What the engine lends a collector: a page of the exposition, a clock, and where to report."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client.metrics_core import Metric

from exporter.clock import Clock
from exporter.families import Family, Sample, Samples
from exporter.runnermetrics import RunnerMetrics


class ApiObserver(Protocol):
    """Where a collector reports each call it makes, for ``ci_exporter_api_…``."""

    def request(self, operation: str, code: str, seconds: float) -> None:
        """One call ended; *code* is the HTTP status or ``error``."""
        ...

    def rate_limit_remaining(self, remaining: float) -> None:
        """What the source says is left of the allowance."""
        ...

    def unknown_value(self, kind: str) -> None:
        """The source sent a *kind* of value (a status, say) that this version does not know."""
        ...


class Page(Protocol):
    """A collector's share of the exposition: blocks of rendered samples, one per entity."""

    def swap(self, entity: str, samples: Samples) -> None:
        """Replace all that *entity* exposes."""
        ...

    def drop(self, entity: str) -> None:
        """Expose nothing of *entity* any more."""
        ...

    def note_dropped(self, family: Family, reason: str, series: Sequence[Sample]) -> None:
        """Count *series* that the collector left out for *reason*, a constant."""
        ...

    def collect(self) -> Iterator[Metric]:
        """All of it as prometheus_client metrics, in exposition order."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What the engine lends a collector.

    ``stopping`` is set when waits must end. ``wake`` asks for the unit of that key to be polled now.
    ``timezone`` is the one that the operator's days are counted in. In a ``rehearsal`` one round is tried
    out: nothing may be left behind at the source. No family may show more than ``max_series_per_family``.
    ``work`` is what the engine did so far, for all collectors.
    """

    page: Page
    clock: Clock
    api: ApiObserver
    stopping: threading.Event
    fetch_timeout_seconds: float = 30.0
    version: str = ""
    timezone: str = "UTC"
    rehearsal: bool = False
    max_series_per_family: int = 50_000
    wake: Callable[[str], None] = lambda _key: None
    work: RunnerMetrics = field(default_factory=lambda: RunnerMetrics(per_collector=True))
