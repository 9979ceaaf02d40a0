"""Runner-style counters: what a poller fetched, the jobs that it ran, and the reports it delivered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.samples import Sample

from exporter.clock import Clock, SystemClock
from exporter.errors import Stopped
from exporter.families import Family
from exporter.runnerfamilies import NAMESPACE, runner_families

M = TypeVar("M", bound=MetricWrapperBase)


class FetchResult(StrEnum):
    """What a poll brought: news, nothing new, or a failure; a label value."""

    TASK = "task"
    EMPTY = "empty"
    ERROR = "error"


class JobStatus(StrEnum):
    """How a unit of work ended; a label value."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


class ReportResult(StrEnum):
    """Whether a report was taken; a label value."""

    SUCCESS = "success"
    ERROR = "error"


class _Results(dict[str, JobStatus]):
    """What sources call their results; a word that is none of them is unknown, whatever it is."""

    def __missing__(self, word: object) -> JobStatus:
        name = str(word).lower().removeprefix("result_")
        return self.get(name, JobStatus.UNKNOWN)


RESULT_TO_STATUS: Mapping[str, JobStatus] = MappingProxyType(
    _Results(
        {
            **{status.value: status for status in JobStatus},
            "succeeded": JobStatus.SUCCESS,
            "passed": JobStatus.SUCCESS,
            "failed": JobStatus.FAILURE,
            "error": JobStatus.FAILURE,
            "timed_out": JobStatus.FAILURE,
            "canceled": JobStatus.CANCELLED,
            "aborted": JobStatus.CANCELLED,
            "unspecified": JobStatus.UNKNOWN,
        }
    )
)
"""``RESULT_TO_STATUS[word]`` for the result words of CI systems, in any case, also with ``RESULT_`` before.

Numbers are no words: 0 means success to a shell and nothing yet to some servers, so it is unknown.
"""


@dataclass(slots=True)
class Fetch:
    """One poll under way. ``result`` ``None`` means that it is not to be counted."""

    result: FetchResult | None = FetchResult.EMPTY
    _answered_at: float | None = None
    _observed: bool = True
    _clock: Clock = field(default_factory=SystemClock)

    def found(self, news: bool = True) -> None:
        """Say whether the poll brought news."""
        self.result = FetchResult.TASK if news else FetchResult.EMPTY

    def answered(self) -> None:
        """Stop the watch: what follows within the block is no part of the poll."""
        self._answered_at = self._clock.monotonic()

    def waited_out(self) -> None:
        """The deadline of a long poll came first: nothing new, and a duration that tells nothing."""
        self.result, self._observed = FetchResult.EMPTY, False


@dataclass(slots=True)
class Job:
    """One unit of work under way; it ends as ``status`` unless it raises."""

    status: JobStatus = JobStatus.SUCCESS


class RunnerMetrics:
    """What a poller, its jobs and its reports did, as metrics under a namespace; thread-safe.

    Usable by any program: it registers nowhere by itself, and can be registered in any registry of
    prometheus_client. ``capacity`` may be a callable, which is then read at the scrape. A *per_collector*
    set gives the polls and jobs the label ``collector``. An end by :class:`Stopped`, by Ctrl-C or by a
    cancelled task is a shutdown, and no error.

    One object tells of one process. In prometheus_client's multiprocess mode it keeps its numbers in the
    files of that mode: have one object for each namespace and process, and scrape it, since the files know
    nothing of what is read at the scrape.
    """

    def __init__(
        self,
        namespace: str = NAMESPACE,
        *,
        version: str = "",
        name: str = "",
        capacity: int | Callable[[], int] = 1,
        per_collector: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.namespace = namespace
        self.version = version
        self.name = name
        self.capacity = capacity
        self.families = families = runner_families(namespace, per_collector=per_collector)
        self._clock = clock or SystemClock()
        self._started = self._clock.monotonic()
        self._turn = threading.Lock()
        self._running = 0
        self._buffers: dict[int, Callable[[], int]] = {}
        self._per_collector = per_collector
        self._registry = CollectorRegistry()
        self._fetched = self._counter(families.fetch)
        self._fetch_seconds = self._histogram(families.fetch_duration)
        waits = families.backoff
        self._backoff = Gauge(waits.name, waits.help, waits.labels, unit=waits.unit, registry=self._registry)
        self._client_errors = self._counter(families.client_errors)
        self._jobs = self._counter(families.job)
        self._job_seconds = self._histogram(families.job_duration)
        self._states = self._counter(families.report_state)
        self._state_seconds = self._histogram(families.report_state_duration)
        self._logs = self._counter(families.report_log)
        self._log_seconds = self._histogram(families.report_log_duration)
        for result in ReportResult:
            self._states.labels(result.value)
            self._logs.labels(result.value)
        if not per_collector:
            self._show(())

    def _counter(self, family: Family) -> Counter:
        return Counter(family.name, family.help, family.labels, registry=self._registry)

    def _histogram(self, family: Family) -> Histogram:
        return Histogram(
            family.name,
            family.help,
            family.labels,
            buckets=family.buckets,
            unit=family.unit,
            registry=self._registry,
        )

    # -- recording -----------------------------------------------------------------------------

    def begin(self, collector: str) -> None:
        """Show the series of *collector* at once, at zero."""
        self._show(self._by(collector))

    def _by(self, collector: str) -> tuple[str, ...]:
        """The label values for *collector*; what does not fit is refused before the work, not after it."""
        if bool(collector) is not self._per_collector:
            raise ValueError(
                "name the collector"
                if self._per_collector
                else "only a per_collector set of metrics tells collectors apart; leave the collector out"
            )
        return (collector,) if collector else ()

    def _show(self, by: tuple[str, ...]) -> None:
        for result in FetchResult:
            self._fetched.labels(*by, result.value)
        for status in JobStatus:
            self._jobs.labels(*by, status.value)
        _of(self._fetch_seconds, by)
        _of(self._job_seconds, by)

    def forget(self, collector: str) -> None:
        """Drop the gauge of a collector that is gone; its counters stay, since counters never go back."""
        with suppress(KeyError):  # prometheus_client raises it up to some version
            self._backoff.remove(*self._by(collector))

    @contextmanager
    def fetch(
        self,
        collector: str = "",
        *,
        method: str = "",
        deadline: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> Iterator[Fetch]:
        """Count and time one poll; say in the block whether it :meth:`~Fetch.found` news.

        What it raises makes it an error, counted for the operation *method* too if that is given; a
        *deadline* exception means that a long poll brought nothing. All of them go on to the caller.
        """
        by = self._by(collector)
        one = Fetch(_clock=self._clock)
        began = self._clock.monotonic()
        try:
            yield one
        except deadline:
            one.waited_out()
            raise
        except Stopped:
            one.result = None
            raise
        except Exception:
            one.result = FetchResult.ERROR
            if method:
                self.client_error(method)
            raise
        except BaseException:
            one.result = None
            raise
        finally:
            if one.result is not None:
                self._fetched.labels(*by, one.result.value).inc()
                if one._observed:
                    ended = self._clock.monotonic() if one._answered_at is None else one._answered_at
                    _of(self._fetch_seconds, by).observe(ended - began)

    def backoff(self, seconds: float, collector: str = "") -> None:
        """Tell the wait before the next poll, without its jitter."""
        _of(self._backoff, self._by(collector)).set(seconds)

    def client_error(self, method: str) -> None:
        """A call to a source failed; *method* is a constant that names the operation."""
        self._client_errors.labels(method).inc()

    @contextmanager
    def job(self, collector: str = "") -> Iterator[Job]:
        """Count and time one unit of work; set its ``status`` if it is no success."""
        by = self._by(collector)
        one = Job()
        began = self._clock.monotonic()
        with self._turn:
            self._running += 1
        try:
            yield one
        except Stopped:
            one.status = JobStatus.CANCELLED
            raise
        except Exception:
            one.status = JobStatus.FAILURE
            raise
        except BaseException:
            one.status = JobStatus.CANCELLED
            raise
        finally:
            with self._turn:
                self._running -= 1
            self._jobs.labels(*by, one.status.value).inc()
            _of(self._job_seconds, by).observe(self._clock.monotonic() - began)

    def skipped(self, collector: str = "") -> None:
        """A unit of work was left out: nobody wanted it any more."""
        self._jobs.labels(*self._by(collector), JobStatus.SKIPPED.value).inc()

    @contextmanager
    def report_state(self) -> Iterator[None]:
        """Count and time one report of state: a commit, a call that says how a job stands."""
        with self._report(self._states, self._state_seconds):
            yield

    @contextmanager
    def report_log(self) -> Iterator[None]:
        """Count and time one report of what happened: a delivery of log rows or events."""
        with self._report(self._logs, self._log_seconds):
            yield

    @contextmanager
    def _report(self, counted: Counter, seconds: Histogram) -> Iterator[None]:
        began = self._clock.monotonic()
        result: ReportResult | None = ReportResult.SUCCESS
        try:
            yield
        except Stopped:
            result = None
            raise
        except Exception:
            result = ReportResult.ERROR
            raise
        except BaseException:
            result = None
            raise
        finally:
            if result is not None:
                counted.labels(result.value).inc()
                seconds.observe(self._clock.monotonic() - began)

    def add_buffer(self, rows: Callable[[], int]) -> Callable[[], None]:
        """Have *rows*, which tells how many wait to be delivered, summed at each scrape.

        Returns:
            What to call when the buffer is gone.
        """
        key = id(rows)
        with self._turn:
            self._buffers = {**self._buffers, key: rows}

        def remove() -> None:
            with self._turn:
                self._buffers = {other: kept for other, kept in self._buffers.items() if other != key}

        return remove

    # -- reading -------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """Every family with its samples, in the order of :class:`RunnerFamilies`."""
        return self._collect(self.name)

    def _collect(self, name: str) -> Iterator[Metric]:
        found = {metric.name: metric for metric in [*self._read_now(name), *self._registry.collect()]}
        for family in self.families:
            metric = found[family.name]
            # Switching them off for the whole of prometheus_client is the program's choice, not ours.
            metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
            yield metric

    def collect_as(self, namespace: str, *, name: str) -> Iterator[Metric]:
        """The same under another namespace and name."""
        skip = len(self.namespace)
        for metric in self._collect(name):
            renamed = Metric(namespace + metric.name[skip:], metric.documentation, metric.type, metric.unit)
            renamed.samples = [
                Sample(namespace + sample.name[skip:], *sample[1:]) for sample in metric.samples
            ]
            yield renamed

    def describe(self) -> Iterator[Metric]:
        """Every family, without samples."""
        for family in self.families:
            yield family.metric()

    def _read_now(self, name: str) -> Iterator[Metric]:
        """What is read at the scrape."""
        capacity = self.capacity() if callable(self.capacity) else self.capacity
        running = self._running
        families = self.families
        info = GaugeMetricFamily(families.info.name, families.info.help, labels=families.info.labels)
        info.add_metric([self.version, name], 1)
        yield info
        for family, value in (
            (families.capacity, capacity),
            (families.uptime, self._clock.monotonic() - self._started),
            (families.job_running, running),
            (families.utilization, running / capacity if capacity > 0 else 0),
            (families.buffer_rows, sum(rows() for rows in self._buffers.values())),
        ):
            yield GaugeMetricFamily(family.name, family.help, value, unit=family.unit)


def _of(metric: M, by: tuple[str, ...]) -> M:
    """The child for these label values; the metric itself where it has no labels."""
    return metric.labels(*by) if by else metric
