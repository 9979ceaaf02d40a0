"""What the sinks do, counted: events delivered and waiting, notifications sent, alerts that stand."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.samples import Sample

from exporter.clock import timestamp
from exporter.families import Family, counter, gauge, histogram
from exporter.model.events import Backlog


class Delivery(StrEnum):
    """How the delivery of one event ended; a label value."""

    SUCCESS = "success"
    ERROR = "error"
    DUPLICATE = "duplicate"
    DEAD_LETTER = "dead_letter"


class Claim(StrEnum):
    """What came of asking whether an event is ours to tell; a label value."""

    CLAIMED = "claimed"
    TAKEN = "taken"
    FAILED_OPEN = "failed_open"


class Notified(StrEnum):
    """How one attempt to notify people ended; a label value."""

    SUCCESS = "success"
    ERROR = "error"
    GIVEN_UP = "given_up"


EVENTS = counter(
    "ci_exporter_events_total",
    "Events read from a source: `new` ones go to the outbox, `duplicate` ones were there before or no sink"
    " wants them.",
    ("collector", "result"),
    source="rounds",
)
DELIVERIES = counter(
    "ci_exporter_sink_deliveries_total",
    "Events by what became of them at the sink: delivered, an attempt failed, another producer has told"
    " them, or never to be taken.",
    ("sink", "result"),
    source="sinks",
)
SINK_SUCCESS = gauge(
    "ci_exporter_sink_success",
    "1 if what the sink last tried succeeded, else 0.",
    ("sink",),
    source="sinks",
)
SINK_LAST_SUCCESS = gauge(
    "ci_exporter_sink_last_success_timestamp_seconds",
    "When the sink last delivered something, or found nothing to deliver.",
    ("sink",),
    unit="seconds",
    source="sinks",
)
BACKLOG = gauge(
    "ci_exporter_outbox_events",
    "Events in the outbox that the sink has still to deliver; above 10000 an estimate.",
    ("sink",),
    source="sinks",
)
OLDEST = gauge(
    "ci_exporter_outbox_oldest_event_timestamp_seconds",
    "When the oldest event that the sink has still to deliver was saved; absent if there is none.",
    ("sink",),
    unit="seconds",
    source="sinks",
)
DEAD_LETTERS = gauge(
    "ci_exporter_dead_letters",
    "Events that the sink could never deliver, kept with the reason in the table dead_letters.",
    ("sink",),
    source="sinks",
)
CLAIMS = counter(
    "ci_exporter_claims_total",
    "Events by who tells them, of sinks that ask Redis: we do, another producer does, or perhaps both, since"
    " Redis could not be asked.",
    ("sink", "result"),
    source="sinks",
)
NOTIFICATIONS = counter(
    "ci_exporter_notifications_total",
    "Attempts to notify people, by channel and result.",
    ("channel", "result"),
    source="alerts",
)
NOTIFICATION_DURATION = histogram(
    "ci_exporter_notification_duration_seconds",
    "How long attempts to notify people took.",
    ("channel",),
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30),
    unit="seconds",
    source="alerts",
)
ALERTS_ACTIVE = gauge(
    "ci_exporter_alerts_active",
    "Alerts that stand now, by rule and severity.",
    ("rule", "severity"),
    source="alerts",
)

FAMILIES: tuple[Family, ...] = (
    EVENTS,
    DELIVERIES,
    SINK_SUCCESS,
    SINK_LAST_SUCCESS,
    BACKLOG,
    OLDEST,
    DEAD_LETTERS,
    CLAIMS,
    NOTIFICATIONS,
    NOTIFICATION_DURATION,
    ALERTS_ACTIVE,
)


class SinkMetrics:
    """The series of all sinks in *registry*; any thread may write."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._events = self._counter(EVENTS)
        self._deliveries = self._counter(DELIVERIES)
        self._success = self._gauge(SINK_SUCCESS)
        self._last_success = self._gauge(SINK_LAST_SUCCESS)
        self._backlog = self._gauge(BACKLOG)
        self._oldest = self._gauge(OLDEST)
        self._dead_letters = self._gauge(DEAD_LETTERS)
        self._claims = self._counter(CLAIMS)
        self._notifications = self._counter(NOTIFICATIONS)
        family = NOTIFICATION_DURATION
        self._notification_seconds = Histogram(
            family.name, family.help, family.labels, buckets=family.buckets, unit="seconds", registry=registry
        )
        self._alerts = self._gauge(ALERTS_ACTIVE)

    def _gauge(self, family: Family) -> Gauge:
        return Gauge(family.name, family.help, family.labels, unit=family.unit, registry=self._registry)

    def _counter(self, family: Family) -> Counter:
        return Counter(family.name, family.help, family.labels, unit=family.unit, registry=self._registry)

    def read(self, collector: str, new: int, duplicate: int) -> None:
        """*collector* brought events; *new* of them were not told before."""
        self._events.labels(collector, "new").inc(new)
        self._events.labels(collector, "duplicate").inc(duplicate)

    def begin(self, sink: str) -> None:
        """Show zeros for *sink* from now on, so that its first failure is an increase."""
        for result in Delivery:
            self._deliveries.labels(sink, result.value)
        self._backlog.labels(sink)
        self._dead_letters.labels(sink)

    def delivered(self, sink: str, result: Delivery, events: int = 1) -> None:
        """*events* ended as *result* at *sink*."""
        self._deliveries.labels(sink, result.value).inc(events)

    def begin_claims(self, sink: str) -> None:
        """Show zeros of claims for *sink* from now on."""
        for result in Claim:
            self._claims.labels(sink, result.value)

    def claimed(self, sink: str, result: Claim, events: int) -> None:
        """*sink* asked for *events*, with that *result*."""
        self._claims.labels(sink, result.value).inc(events)

    def succeeded(self, sink: str, now: float) -> None:
        """*sink* works, as of *now* in seconds since 1970."""
        self._success.labels(sink).set(1)
        self._last_success.labels(sink).set(now)

    def failed(self, sink: str) -> None:
        """What *sink* tried last failed."""
        self._success.labels(sink).set(0)

    def waiting(self, sink: str, backlog: Backlog) -> None:
        """*backlog* is what *sink* has still to deliver."""
        self._backlog.labels(sink).set(backlog.events)
        if backlog.oldest is None:
            _remove(self._oldest, sink)
        else:
            self._oldest.labels(sink).set(timestamp(backlog.oldest))

    def dead_letters(self, sink: str, events: int) -> None:
        """*sink* could never deliver that many *events*."""
        self._dead_letters.labels(sink).set(events)

    def notified(self, channel: str, result: Notified, seconds: float | None = None) -> None:
        """One attempt to notify by *channel* ended; *seconds* is how long it took, if it was one."""
        self._notifications.labels(channel, result.value).inc()
        if seconds is not None:
            self._notification_seconds.labels(channel).observe(seconds)

    def begin_channel(self, channel: str) -> None:
        """Show zeros for *channel* from now on."""
        for result in Notified:
            self._notifications.labels(channel, result.value)
        self._notification_seconds.labels(channel)

    def alerts(self, standing: Mapping[tuple[str, str], int]) -> None:
        """``(rule, severity) -> alerts`` that stand now; a rule that is not in it is gone."""
        for rule, severity in {tuple(sample.labels.values()) for sample in _samples(self._alerts)}:
            if (rule, severity) not in standing:
                _remove(self._alerts, rule, severity)
        for (rule, severity), number in standing.items():
            self._alerts.labels(rule, severity).set(number)

    def forget(self, sink: str) -> None:
        """Drop the gauges of a sink that is gone."""
        for metric in (self._success, self._last_success, self._backlog, self._oldest, self._dead_letters):
            _remove(metric, sink)


def _samples(metric: Gauge) -> list[Sample]:
    return [sample for family in metric.collect() for sample in family.samples]


def _remove(metric: Gauge, *labels: str) -> None:
    with suppress(KeyError):  # prometheus_client raises it up to some version
        metric.remove(*labels)
