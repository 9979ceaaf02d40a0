"""What sources push, counted: hooks by what became of them, those that wait, and how long reading takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from exporter.clock import timestamp
from exporter.families import Family, counter, gauge, histogram


class Result(StrEnum):
    """What became of one hook; a label value.

    ``accepted`` ones are in the queue, and may be counted once more when they are read: as
    ``not_understood``, ``ignored`` or ``failed``. The others never got there.
    """

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    TOO_LARGE = "too_large"
    REJECTED = "rejected"
    NOT_UNDERSTOOD = "not_understood"
    IGNORED = "ignored"
    FAILED = "failed"


RECEIVED = counter(
    "ci_exporter_hooks_received_total",
    "Webhooks by what became of them: queued (`accepted`), repeated (`duplicate`), without the right secret"
    " (`refused`), over the size limit (`too_large`), no room or no database (`rejected`). Of the accepted"
    " ones also those that say nothing we use (`not_understood`), speak of what is not watched (`ignored`),"
    " or could not be read (`failed`).",
    ("collector", "result"),
    source="webhooks",
)
LAST_RECEIVED = gauge(
    "ci_exporter_hooks_last_received_timestamp_seconds",
    "When the last authentic webhook came.",
    ("collector",),
    unit="seconds",
    source="webhooks",
)
WAITING = gauge(
    "ci_exporter_hooks_waiting",
    "Webhooks in the queue that are still to be read.",
    ("collector",),
    source="webhooks",
)
OLDEST = gauge(
    "ci_exporter_hooks_oldest_waiting_timestamp_seconds",
    "When the oldest webhook that is still to be read came; absent if there is none.",
    ("collector",),
    unit="seconds",
    source="webhooks",
)
PROCESSING = histogram(
    "ci_exporter_hooks_processing_seconds",
    "Time from the arrival of a webhook until what it says is saved and shown.",
    ("collector",),
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600),
    unit="seconds",
    source="webhooks",
)

FAMILIES: tuple[Family, ...] = (RECEIVED, LAST_RECEIVED, WAITING, OLDEST, PROCESSING)


class HookMetrics:
    """The series of all hooks in *registry*; any thread may write."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._received = Counter(RECEIVED.name, RECEIVED.help, RECEIVED.labels, registry=registry)
        self._last = Gauge(
            LAST_RECEIVED.name, LAST_RECEIVED.help, LAST_RECEIVED.labels, unit="seconds", registry=registry
        )
        self._waiting = Gauge(WAITING.name, WAITING.help, WAITING.labels, registry=registry)
        self._oldest = Gauge(OLDEST.name, OLDEST.help, OLDEST.labels, unit="seconds", registry=registry)
        self._seconds = Histogram(
            PROCESSING.name,
            PROCESSING.help,
            PROCESSING.labels,
            buckets=PROCESSING.buckets,
            unit="seconds",
            registry=registry,
        )

    def begin(self, collector: str) -> None:
        """Show zeros for *collector* from now on, so that its first refusal is an increase."""
        for result in Result:
            self._received.labels(collector, result.value)
        self._waiting.labels(collector)
        self._seconds.labels(collector)

    def count(self, collector: str, result: Result, hooks: int = 1) -> None:
        """*hooks* of *collector* ended as *result*."""
        self._received.labels(collector, result.value).inc(hooks)

    def received(self, collector: str, now: datetime) -> None:
        """An authentic hook came."""
        self._last.labels(collector).set(timestamp(now))

    def read(self, collector: str, seconds: Iterable[float]) -> None:
        """What hooks say is shown, *seconds* after each of them came."""
        observed = self._seconds.labels(collector)
        for one in seconds:
            observed.observe(max(0.0, one))

    def waiting(self, waiting: Mapping[str, tuple[int, datetime | None]]) -> None:
        """``collector -> (hooks, when the oldest came)`` of all that wait."""
        for collector, (hooks, oldest) in waiting.items():
            self._waiting.labels(collector).set(hooks)
            if oldest is None:
                with suppress(KeyError):  # prometheus_client raises it up to some version
                    self._oldest.remove(collector)
            else:
                self._oldest.labels(collector).set(timestamp(oldest))

    def forget(self, collector: str) -> None:
        """Drop the gauges of a collector that is gone."""
        for metric in (self._last, self._waiting, self._oldest):
            with suppress(KeyError):
                metric.remove(collector)
