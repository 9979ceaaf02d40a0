"""The families of runner-style counters: names, labels and buckets under a namespace of one's choice."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from exporter.families import Family, counter, gauge, histogram

NAMESPACE = "ci_exporter"
FETCH_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10)
JOB_BUCKETS = tuple(2**exponent for exponent in range(14))
REPORT_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)


class RunnerFamilies(NamedTuple):
    """All families of one namespace, in the order in which they are shown."""

    info: Family
    capacity: Family
    uptime: Family
    fetch: Family
    fetch_duration: Family
    backoff: Family
    client_errors: Family
    job: Family
    job_duration: Family
    job_running: Family
    utilization: Family
    report_state: Family
    report_state_duration: Family
    report_log: Family
    report_log_duration: Family
    buffer_rows: Family


@cache
def runner_families(namespace: str = NAMESPACE, *, per_collector: bool = True) -> RunnerFamilies:
    """The families under *namespace*; those of polls and jobs tell collectors apart if *per_collector*.

    Without collectors, and under the namespace of an existing runner of this kind, names, labels and buckets
    are those that its boards and alerts use.

    Raises:
        ValueError: *namespace* cannot begin a metric name.
    """
    if not namespace:
        raise ValueError("the namespace is empty; write one, such as ci_exporter")
    make, by = _Maker(namespace), ("collector",) if per_collector else ()
    found = _process(make) | _polls(make, by) | _jobs(make, by) | _reports(make)
    return RunnerFamilies(**found)


class _Maker(NamedTuple):
    """Makes families under a namespace."""

    namespace: str

    def gauge(self, name: str, text: str, labels: tuple[str, ...] = (), unit: str = "") -> Family:
        return gauge(f"{self.namespace}_{name}", text, labels, unit=unit, source="engine")

    def counter(self, name: str, text: str, labels: tuple[str, ...]) -> Family:
        return counter(f"{self.namespace}_{name}", text, labels, source="engine")

    def seconds(
        self, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()
    ) -> Family:
        name = f"{self.namespace}_{name}"
        return histogram(name, text, labels, buckets=buckets, unit="seconds", source="engine")


def _process(make: _Maker) -> dict[str, Family]:
    return dict(
        info=make.gauge("info", "Constant 1; labels tell the version and the name.", ("version", "name")),
        capacity=make.gauge("capacity", "Jobs that can run at once."),
        uptime=make.gauge("uptime_seconds", "Time since the start, at the scrape.", unit="seconds"),
    )


def _polls(make: _Maker, by: tuple[str, ...]) -> dict[str, Family]:
    return dict(
        fetch=make.counter(
            "poll_fetch_total",
            "Polls: `task` brought news, `empty` nothing (or a long poll's deadline came), `error` failed.",
            (*by, "result"),
        ),
        fetch_duration=make.seconds(
            "poll_fetch_duration_seconds",
            "How long polls took to be answered, but for those that a long poll's deadline ended.",
            FETCH_BUCKETS,
            by,
        ),
        backoff=make.gauge(
            "poll_backoff_seconds",
            "Wait between polls, before jitter: the base while there is news, longer when idle or failing.",
            by,
            "seconds",
        ),
        client_errors=make.counter(
            "client_errors_total", "Calls to a source that failed, by operation.", ("method",)
        ),
    )


def _jobs(make: _Maker, by: tuple[str, ...]) -> dict[str, Family]:
    return dict(
        job=make.counter("job_total", "Units of work that ended, by outcome.", (*by, "status")),
        job_duration=make.seconds(
            "job_duration_seconds", "How long units of work took, saving included.", JOB_BUCKETS, by
        ),
        job_running=make.gauge("job_running", "Units of work under way, at the scrape."),
        utilization=make.gauge(
            "job_capacity_utilization_ratio",
            "Units of work under way to those that can be at once; 0 without capacity.",
        ),
    )


def _reports(make: _Maker) -> dict[str, Family]:
    return dict(
        report_state=make.counter(
            "report_state_total", "Reports of state (commits to the store).", ("result",)
        ),
        report_state_duration=make.seconds(
            "report_state_duration_seconds",
            "How long reports of state took, failed ones too.",
            REPORT_BUCKETS,
        ),
        report_log=make.counter(
            "report_log_total", "Reports of what happened (deliveries to sinks).", ("result",)
        ),
        report_log_duration=make.seconds(
            "report_log_duration_seconds",
            "How long reports of what happened took, failed ones too.",
            REPORT_BUCKETS,
        ),
        buffer_rows=make.gauge(
            "report_log_buffer_rows",
            "Rows that wait to be delivered, summed at the scrape over all reporters.",
        ),
    )
