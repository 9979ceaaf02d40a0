"""Runner-style counters as any program would use them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from exporter.clock import FixedClock
from exporter.errors import Stopped
from exporter.runnerfamilies import runner_families
from exporter.runnermetrics import RESULT_TO_STATUS, FetchResult, JobStatus, RunnerMetrics

# Names, types and labels of act_runner's endpoint at its first release.
ACT_RUNNER = {
    "act_runner_info": ("gauge", ("version", "name")),
    "act_runner_capacity": ("gauge", ()),
    "act_runner_uptime_seconds": ("gauge", ()),
    "act_runner_poll_fetch_total": ("counter", ("result",)),
    "act_runner_poll_fetch_duration_seconds": ("histogram", ()),
    "act_runner_poll_backoff_seconds": ("gauge", ()),
    "act_runner_job_total": ("counter", ("status",)),
    "act_runner_job_duration_seconds": ("histogram", ()),
    "act_runner_job_running": ("gauge", ()),
    "act_runner_job_capacity_utilization_ratio": ("gauge", ()),
    "act_runner_report_log_total": ("counter", ("result",)),
    "act_runner_report_log_duration_seconds": ("histogram", ()),
    "act_runner_report_state_total": ("counter", ("result",)),
    "act_runner_report_state_duration_seconds": ("histogram", ()),
    "act_runner_report_log_buffer_rows": ("gauge", ()),
    "act_runner_client_errors_total": ("counter", ("method",)),
}
FETCH_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10)
REPORT_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)
JOB_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 3, 1, tzinfo=UTC))


@pytest.fixture
def metrics(clock: FixedClock) -> RunnerMetrics:
    return RunnerMetrics("act_runner", version="1.2", name="builder", capacity=4, clock=clock)


def value(metrics: RunnerMetrics, name: str, /, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(metrics)  # type: ignore[arg-type]
    return registry.get_sample_value(f"{metrics.namespace}_{name}", labels)


def untimed(metrics: Iterable[Metric]) -> list[tuple[str, dict[str, str], float]]:
    """All samples but those that tell how long something took."""
    samples = [sample for metric in metrics for sample in metric.samples]
    return [
        (one.name, one.labels, one.value) for one in samples if not one.name.endswith(("_sum", "_seconds"))
    ]


def raising(error: BaseException, after: Callable[[], object] = lambda: None) -> None:
    after()
    raise error


# -- the families --------------------------------------------------------------------------------


def test_the_names_types_and_labels_are_those_that_act_runner_boards_chart() -> None:
    families = runner_families("act_runner", per_collector=False)
    assert {family.exposed_name: (family.kind, family.labels) for family in families} == ACT_RUNNER


def test_the_buckets_are_those_of_act_runner() -> None:
    families = runner_families("act_runner", per_collector=False)
    assert families.fetch_duration.buckets == FETCH_BOUNDS
    assert families.job_duration.buckets == JOB_BOUNDS
    assert families.report_log_duration.buckets == families.report_state_duration.buckets == REPORT_BOUNDS


def test_what_is_exposed_is_what_is_declared(metrics: RunnerMetrics) -> None:
    metrics.client_error("FetchTask")
    declared = {family.name: (family.kind, family.help, family.unit) for family in metrics.families}
    exposed = {metric.name: (metric.type, metric.documentation, metric.unit) for metric in metrics.collect()}
    assert exposed == declared
    assert list(exposed) == [family.name for family in metrics.families]
    assert {metric.name for metric in metrics.describe()} == set(declared)


def test_series_are_there_before_anything_happens(metrics: RunnerMetrics) -> None:
    assert value(metrics, "info", version="1.2", name="builder") == 1
    assert value(metrics, "capacity") == 4
    assert value(metrics, "uptime_seconds") == 0
    assert value(metrics, "job_running") == value(metrics, "job_capacity_utilization_ratio") == 0
    assert [value(metrics, "poll_fetch_total", result=result) for result in FetchResult] == [0, 0, 0]
    assert [value(metrics, "job_total", status=status) for status in JobStatus] == [0, 0, 0, 0, 0]
    assert value(metrics, "report_log_total", result="error") == 0
    assert value(metrics, "poll_fetch_duration_seconds_count") == 0


def test_no_series_says_when_it_was_created(metrics: RunnerMetrics) -> None:
    registry = CollectorRegistry()
    registry.register(metrics)  # type: ignore[arg-type]
    assert b"_created" not in generate_latest(registry)


def test_the_other_metrics_of_the_program_stay_as_they_are() -> None:
    code = (
        "from prometheus_client import CollectorRegistry, Counter, generate_latest\n"
        "from exporter.runnermetrics import RunnerMetrics\n"
        "registry = CollectorRegistry()\n"
        "registry.register(RunnerMetrics('ours'))\n"
        "Counter('theirs', 'x', registry=registry)\n"
        "text = generate_latest(registry).decode()\n"
        "assert 'theirs_created' in text\n"
        "assert 'ours_job_total' in text and 'ours_job_created' not in text\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_registered_anywhere_by_itself() -> None:
    code = (
        "import prometheus_client, ci_exporter\n"
        "ci_exporter.RunnerMetrics('a'), ci_exporter.RunnerMetrics('a')\n"
        "names = {m.name for m in prometheus_client.REGISTRY.collect()}\n"
        "assert not any(name.startswith('a_') for name in names), names\n"
        "import sys\n"
        "heavy = {'sqlalchemy', 'starlette', 'uvicorn', 'apscheduler', 'psycopg', 'alembic', 'requests'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("namespace", ["", "a-b", "7up", "a b", "ü"])
def test_a_namespace_that_no_metric_name_can_begin_with_is_refused(namespace: str) -> None:
    with pytest.raises(ValueError):
        RunnerMetrics(namespace)


# -- polls ---------------------------------------------------------------------------------------


def test_a_poll_counts_by_what_it_brought(metrics: RunnerMetrics, clock: FixedClock) -> None:
    with metrics.fetch() as fetch:
        clock.advance(0.3)
        fetch.found()
    with metrics.fetch():
        clock.advance(0.3)
    with metrics.fetch() as fetch:
        fetch.found(False)
    assert value(metrics, "poll_fetch_total", result="task") == 1
    assert value(metrics, "poll_fetch_total", result="empty") == 2
    assert value(metrics, "poll_fetch_duration_seconds_count") == 3
    assert value(metrics, "poll_fetch_duration_seconds_sum") == pytest.approx(0.6)
    assert value(metrics, "poll_fetch_duration_seconds_bucket", le="0.25") == 1


def test_a_poll_that_raises_is_an_error_of_its_operation(metrics: RunnerMetrics) -> None:
    with pytest.raises(ConnectionError), metrics.fetch(method="FetchTask"):
        raising(ConnectionError())
    assert value(metrics, "poll_fetch_total", result="error") == 1
    assert value(metrics, "client_errors_total", method="FetchTask") == 1
    assert value(metrics, "poll_fetch_duration_seconds_count") == 1


def test_the_deadline_of_a_long_poll_is_empty_and_not_observed(
    metrics: RunnerMetrics, clock: FixedClock
) -> None:
    with pytest.raises(TimeoutError), metrics.fetch(method="FetchTask", deadline=TimeoutError):
        raising(TimeoutError())
    with metrics.fetch() as fetch:
        clock.advance(5)
        fetch.waited_out()
    assert value(metrics, "poll_fetch_total", result="empty") == 2
    assert value(metrics, "poll_fetch_total", result="error") == 0
    assert value(metrics, "client_errors_total", method="FetchTask") is None
    assert value(metrics, "poll_fetch_duration_seconds_count") == 0


@pytest.mark.parametrize(
    "end", [Stopped("stopping"), KeyboardInterrupt(), SystemExit(), asyncio.CancelledError()]
)
def test_a_shutdown_is_no_error(metrics: RunnerMetrics, end: BaseException) -> None:
    for block in (metrics.fetch(method="FetchTask"), metrics.report_log(), metrics.report_state()):
        with pytest.raises(type(end)), block:
            raising(end)
    with pytest.raises(type(end)), metrics.job():
        raising(end)
    assert [value(metrics, "poll_fetch_total", result=result) for result in FetchResult] == [0, 0, 0]
    assert value(metrics, "client_errors_total", method="FetchTask") is None
    assert value(metrics, "report_log_total", result="error") == 0
    assert value(metrics, "report_state_total", result="error") == 0
    assert value(metrics, "job_total", status="cancelled") == 1
    assert value(metrics, "job_total", status="failure") == 0


def test_what_follows_the_answer_is_no_part_of_the_poll(metrics: RunnerMetrics, clock: FixedClock) -> None:
    with metrics.fetch() as fetch:
        clock.advance(1)
        fetch.answered()
        clock.advance(60)
    assert value(metrics, "poll_fetch_duration_seconds_sum") == 1


def test_the_backoff_is_what_was_last_told(metrics: RunnerMetrics) -> None:
    metrics.backoff(32)
    assert value(metrics, "poll_backoff_seconds") == 32
    metrics.backoff(2)
    assert value(metrics, "poll_backoff_seconds") == 2


# -- jobs ----------------------------------------------------------------------------------------


def test_a_job_counts_by_its_outcome_and_takes_capacity_meanwhile(
    metrics: RunnerMetrics, clock: FixedClock
) -> None:
    with metrics.job():
        with metrics.job() as inner:
            clock.advance(3)
            inner.status = RESULT_TO_STATUS["skipped"]
            assert value(metrics, "job_running") == 2
            assert value(metrics, "job_capacity_utilization_ratio") == 0.5
        assert value(metrics, "job_running") == 1
    with pytest.raises(ValueError), metrics.job():
        raising(ValueError())
    metrics.skipped()
    assert value(metrics, "job_running") == 0
    counted = {status: value(metrics, "job_total", status=status) for status in JobStatus}
    assert counted == {"success": 1, "failure": 1, "cancelled": 0, "skipped": 2, "unknown": 0}
    assert value(metrics, "job_duration_seconds_count") == 3, "what was left out took no time"


def test_the_utilization_is_0_without_capacity_and_follows_one_that_changes() -> None:
    size = [0]
    metrics = RunnerMetrics(capacity=lambda: size[0])
    with metrics.job():
        assert value(metrics, "job_capacity_utilization_ratio") == 0
        size[0] = 2
        assert value(metrics, "capacity") == 2
        assert value(metrics, "job_capacity_utilization_ratio") == 0.5


def test_jobs_in_many_threads_are_all_counted() -> None:
    metrics = RunnerMetrics(capacity=8)

    def work() -> None:
        for _ in range(500):
            with metrics.job(), metrics.report_state():
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(metrics, "job_running") == 0
    assert value(metrics, "job_total", status="success") == 4000
    assert value(metrics, "report_state_total", result="success") == 4000


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("RESULT_SUCCESS", "success"),
        ("RESULT_FAILURE", "failure"),
        ("RESULT_CANCELLED", "cancelled"),
        ("RESULT_SKIPPED", "skipped"),
        ("RESULT_UNSPECIFIED", "unknown"),
        ("success", "success"),
        ("Failed", "failure"),
        ("canceled", "cancelled"),
        ("timed_out", "failure"),
        ("whatever comes", "unknown"),
        (0, "unknown"),
        (None, "unknown"),
    ],
)
def test_results_of_ci_systems_have_a_status(word: Any, status: str) -> None:
    assert RESULT_TO_STATUS[word] == status


# -- reports -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["log", "state"])
def test_reports_count_by_outcome_and_both_are_timed(
    metrics: RunnerMetrics, clock: FixedClock, kind: str
) -> None:
    report: Callable[[], Any] = getattr(metrics, f"report_{kind}")
    with report():
        clock.advance(0.2)
    with pytest.raises(OSError), report():
        raising(OSError(), after=lambda: clock.advance(4))
    assert value(metrics, f"report_{kind}_total", result="success") == 1
    assert value(metrics, f"report_{kind}_total", result="error") == 1
    assert value(metrics, f"report_{kind}_duration_seconds_count") == 2
    assert value(metrics, f"report_{kind}_duration_seconds_sum") == pytest.approx(4.2)


def test_the_buffer_rises_while_nothing_can_be_delivered_and_sums_all_reporters(
    metrics: RunnerMetrics,
) -> None:
    first: list[int] = []
    second = [1, 2, 3]
    metrics.add_buffer(first.__len__)
    remove = metrics.add_buffer(second.__len__)
    assert value(metrics, "report_log_buffer_rows") == 3
    for row in range(5):
        first.append(row)
        with pytest.raises(OSError), metrics.report_log():
            raising(OSError())
        assert value(metrics, "report_log_buffer_rows") == 4 + row
    remove()
    remove()
    assert value(metrics, "report_log_buffer_rows") == 5


# -- as a part of the exporter -------------------------------------------------------------------


def test_collectors_are_told_apart_and_begin_at_zero() -> None:
    metrics = RunnerMetrics(per_collector=True)
    metrics.begin("a")
    with metrics.fetch("b") as fetch, metrics.job("b"):
        fetch.found()
    metrics.backoff(30, "a")
    assert value(metrics, "poll_fetch_total", collector="a", result="task") == 0
    assert value(metrics, "poll_fetch_total", collector="b", result="task") == 1
    assert value(metrics, "job_total", collector="b", status="success") == 1
    assert value(metrics, "poll_backoff_seconds", collector="a") == 30
    metrics.forget("a")
    metrics.forget("a")
    assert value(metrics, "poll_backoff_seconds", collector="a") is None
    assert value(metrics, "poll_fetch_total", collector="a", result="task") == 0, "counters never go back"


@pytest.mark.parametrize(("per_collector", "collector"), [(True, ""), (False, "a")])
def test_a_collector_too_many_or_too_few_is_refused_before_the_work(
    per_collector: bool, collector: str
) -> None:
    metrics = RunnerMetrics(per_collector=per_collector)
    began = []
    for block in (metrics.fetch, metrics.job):
        with pytest.raises(ValueError, match="collector"), block(collector):
            began.append(block)
    for tell in (metrics.skipped, metrics.begin, lambda name: metrics.backoff(1, name)):
        with pytest.raises(ValueError, match="collector"):
            tell(collector)
    assert began == []
    assert value(metrics, "job_running") == 0


def test_the_same_can_be_read_under_another_namespace() -> None:
    metrics = RunnerMetrics("one", version="1", name="first")
    other = RunnerMetrics("another", version="1", name="second")
    for each in (metrics, other):
        with each.fetch() as fetch:
            fetch.found()
    renamed = list(metrics.collect_as("another", name="second"))
    assert untimed(renamed) == untimed(other.collect())
    assert [m.name for m in renamed] == [family.name for family in other.families]
