"""What the exporter tells about itself: live prometheus_client objects, rendered at each scrape."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from exporter.contract import UnitTrouble
from exporter.families import Family, clean, counter, gauge, histogram
from exporter.hookmetrics import FAMILIES as HOOK_FAMILIES
from exporter.hookmetrics import HookMetrics
from exporter.runnermetrics import RunnerMetrics
from exporter.sinkmetrics import FAMILIES as SINK_FAMILIES
from exporter.sinkmetrics import SinkMetrics

_FIRST_FAILURE = 400
API_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)

BUILD_INFO = gauge(
    "ci_exporter_build_info",
    "Constant 1; labels tell the version that runs.",
    ("version", "python_version"),
    source="the program",
)
LAST_SUCCESS = gauge(
    "ci_exporter_last_success_timestamp_seconds",
    "When a poll of this collector last brought an answer that was saved.",
    ("collector",),
    unit="seconds",
    source="rounds",
)
COLLECTOR_SUCCESS = gauge(
    "ci_exporter_collector_success",
    "1 if the collector's last round had no failed poll and its last scrape no error, else 0.",
    ("collector",),
    source="rounds",
)
COLLECTOR_DURATION = gauge(
    "ci_exporter_collector_duration_seconds",
    "Time spent polling and saving in the collector's last complete round.",
    ("collector",),
    unit="seconds",
    source="rounds",
)
API_REQUESTS = counter(
    "ci_exporter_api_requests_total",
    "Calls to a source, by operation and HTTP status (`error` when there was none).",
    ("collector", "operation", "code"),
    source="HTTP clients",
)
API_DURATION = histogram(
    "ci_exporter_api_request_duration_seconds",
    "How long calls to a source took.",
    ("collector", "operation"),
    buckets=API_BUCKETS,
    unit="seconds",
    source="HTTP clients",
)
RATE_LIMIT_REMAINING = gauge(
    "ci_exporter_api_rate_limit_remaining",
    "What the source said is left of the allowance of calls.",
    ("collector",),
    source="HTTP clients",
)
PROJECT_PROBLEM = gauge(
    "ci_exporter_project_problem",
    "1 for each project that cannot be read or is not what the configuration names.",
    ("collector", "project", "reason"),
    source="rounds",
)
PROJECTS = gauge(
    "ci_exporter_projects",
    "Projects (or other units) that the collector polls.",
    ("collector",),
    source="rounds",
)
POLLS_WAITING = gauge(
    "ci_exporter_polls_waiting",
    "Polls (and looks for projects) that are due and wait for a free worker of the collector.",
    ("collector",),
    source="rounds",
)
UNKNOWN_VALUES = counter(
    "ci_exporter_unknown_values_total",
    "Values from a source that this version does not know, and shows as `unknown`.",
    ("collector", "kind"),
    source="mappings",
)
SERIES = gauge(
    "ci_exporter_series",
    "Series that the collector exposes.",
    ("collector",),
    source="exposition",
)
SERIES_DROPPED = counter(
    "ci_exporter_series_dropped_total",
    "Series left out: over the cap (`limit`), or with the labels of another one (`duplicate`).",
    ("family", "reason"),
    source="exposition",
)
RELOAD_SUCCESSFUL = gauge(
    "ci_exporter_config_last_reload_successful",
    "1 if the last load of the configuration succeeded, else 0.",
    source="configuration",
)
RELOAD_TIMESTAMP = gauge(
    "ci_exporter_config_last_reload_success_timestamp_seconds",
    "When the configuration was last loaded successfully.",
    unit="seconds",
    source="configuration",
)
CERTIFICATE_EXPIRY = gauge(
    "ci_exporter_web_certificate_expiry_timestamp_seconds",
    "Until when the certificate of the HTTPS server is valid; absent for plain HTTP.",
    unit="seconds",
    source="web server",
)
LEADER = gauge(
    "ci_exporter_leader",
    "1 if this process polls, 0 if it stands by and follows another one on the same store.",
    source="lease",
)

FAMILIES: tuple[Family, ...] = (
    BUILD_INFO,
    LAST_SUCCESS,
    COLLECTOR_SUCCESS,
    COLLECTOR_DURATION,
    API_REQUESTS,
    API_DURATION,
    RATE_LIMIT_REMAINING,
    PROJECT_PROBLEM,
    PROJECTS,
    POLLS_WAITING,
    UNKNOWN_VALUES,
    SERIES,
    SERIES_DROPPED,
    RELOAD_SUCCESSFUL,
    RELOAD_TIMESTAMP,
    LEADER,
    CERTIFICATE_EXPIRY,
    *SINK_FAMILIES,
    *HOOK_FAMILIES,
)

M = TypeVar("M", bound=MetricWrapperBase)


class SelfMetrics:
    """The exporter's own series; survives a reload, so that its counters never go back.

    ``work`` counts what the engine does whether or not a collector shows it, for the same reason.
    """

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self.build_info = self._gauge(BUILD_INFO)
        self.build_info.labels(version, platform.python_version()).set(1)
        self.last_success = self._gauge(LAST_SUCCESS)
        self.collector_success = self._gauge(COLLECTOR_SUCCESS)
        self.collector_duration = self._gauge(COLLECTOR_DURATION)
        self.api_requests = self._counter(API_REQUESTS)
        self.api_duration = Histogram(
            API_DURATION.name,
            API_DURATION.help,
            API_DURATION.labels,
            buckets=API_DURATION.buckets,
            unit=API_DURATION.unit,
            registry=self._registry,
        )
        self.rate_limit_remaining = self._gauge(RATE_LIMIT_REMAINING)
        self.projects = self._gauge(PROJECTS)
        self.unknown_values = self._counter(UNKNOWN_VALUES)
        self.reload_successful = self._gauge(RELOAD_SUCCESSFUL)
        self.reload_timestamp = self._gauge(RELOAD_TIMESTAMP)
        self.leader = self._gauge(LEADER)
        self.sinks = SinkMetrics(self._registry)
        self.hooks = HookMetrics(self._registry)
        self.work = RunnerMetrics(version=version, per_collector=True)
        self.troubles: Callable[[], list[tuple[str, UnitTrouble]]] = list
        self.polls_waiting: Callable[[], dict[str, int]] = dict
        self.series: Callable[[], dict[str, int]] = dict
        self.dropped: Callable[[], dict[tuple[str, str], int]] = dict
        self.certificate_expiry: Callable[[], datetime | None] = lambda: None
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def _gauge(self, family: Family) -> Gauge:
        return Gauge(family.name, family.help, family.labels, unit=family.unit, registry=self._registry)

    def _counter(self, family: Family) -> Counter:
        return Counter(family.name, family.help, family.labels, unit=family.unit, registry=self._registry)

    def collect(self) -> Iterator[Metric]:
        """All of it, from memory."""
        yield from self._registry.collect()
        problems = GaugeMetricFamily(
            PROJECT_PROBLEM.name, PROJECT_PROBLEM.help, labels=PROJECT_PROBLEM.labels
        )
        for problem in sorted(
            {(collector, clean(trouble.name), trouble.reason.value) for collector, trouble in self.troubles()}
        ):
            problems.add_metric(problem, 1)
        yield problems
        for family, numbers in ((POLLS_WAITING, self.polls_waiting()), (SERIES, self.series())):
            shown = GaugeMetricFamily(family.name, family.help, labels=family.labels)
            for collector, number in sorted(numbers.items()):
                shown.add_metric([collector], number)
            yield shown
        dropped = CounterMetricFamily(SERIES_DROPPED.name, SERIES_DROPPED.help, labels=SERIES_DROPPED.labels)
        for labels, number in sorted(self.dropped().items()):
            dropped.add_metric(labels, number)
        yield dropped
        if expiry := self.certificate_expiry():
            yield GaugeMetricFamily(
                CERTIFICATE_EXPIRY.name,
                CERTIFICATE_EXPIRY.help,
                expiry.timestamp(),
                unit=CERTIFICATE_EXPIRY.unit,
            )

    def describe(self) -> Iterator[Metric]:
        """Every family it may expose, those of prometheus_client about process and Python included."""
        for family in FAMILIES:
            yield family.metric()
        ours = {family.name for family in FAMILIES}
        yield from (metric for metric in self._registry.collect() if metric.name not in ours)

    def observer(self, collector: str) -> Observer:
        """Where the HTTP client of *collector* reports its calls."""
        return Observer(self, collector)

    def forget(self, collector: str) -> None:
        """Drop the gauges of a collector that is gone."""
        self.work.forget(collector)
        self.hooks.forget(collector)
        for family in (
            self.last_success,
            self.collector_success,
            self.collector_duration,
            self.rate_limit_remaining,
            self.projects,
        ):
            with suppress(KeyError):  # prometheus_client raises it up to some version
                family.remove(collector)


class Observer:
    """Implements :class:`exporter.contract.ApiObserver` for one collector."""

    def __init__(self, metrics: SelfMetrics, collector: str) -> None:
        self._metrics = metrics
        self._collector = collector

    def request(self, operation: str, code: str, seconds: float) -> None:
        """One call ended."""
        if not code.isdecimal() or int(code) >= _FIRST_FAILURE:
            self._metrics.work.client_error(operation)
        self._metrics.api_requests.labels(self._collector, operation, code).inc()
        self._metrics.api_duration.labels(self._collector, operation).observe(seconds)

    def rate_limit_remaining(self, remaining: float) -> None:
        """What the source says is left of the allowance."""
        self._metrics.rate_limit_remaining.labels(self._collector).set(remaining)

    def unknown_value(self, kind: str) -> None:
        """The source sent a *kind* of value (a status, say) that this version does not know."""
        self._metrics.unknown_values.labels(self._collector, kind).inc()
