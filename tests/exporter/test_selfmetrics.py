"""What the exporter tells about itself."""

from __future__ import annotations

import platform
from datetime import UTC, datetime

from prometheus_client import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter.contract import Trouble, UnitTrouble
from exporter.families import Sample, gauge
from exporter.model.events import Backlog
from exporter.rendering import Format
from exporter.selfmetrics import FAMILIES, SelfMetrics
from tests.support.fakes import World, value
from tests.support.promtool import check_metrics

STATE = gauge("ci_state", "State.", ("project",))


def used(world: World) -> None:
    """Give every family a series."""
    metrics = world.metrics
    observer = metrics.observer("gitlab")
    observer.request("pipelines", "200", 0.3)
    observer.request("pipelines", "error", 40)
    observer.rate_limit_remaining(1999)
    observer.unknown_value("status")
    for family in (
        metrics.last_success,
        metrics.collector_success,
        metrics.collector_duration,
        metrics.projects,
    ):
        family.labels("gitlab").set(1)
    metrics.reload_successful.set(1)
    metrics.reload_timestamp.set(1.5e9)
    metrics.leader.set(1)
    metrics.sinks.read("gitlab", 2, 1)
    metrics.sinks.begin("kafka")
    metrics.sinks.succeeded("kafka", 1.5e9)
    metrics.sinks.waiting("kafka", Backlog(3, datetime(2027, 1, 1, tzinfo=UTC)))
    metrics.sinks.begin_claims("kafka")
    metrics.sinks.begin_channel("mail")
    metrics.sinks.alerts({("main-broken", "critical"): 1})
    metrics.hooks.begin("gitlab")
    metrics.hooks.received("gitlab", datetime(2027, 1, 1, tzinfo=UTC))
    metrics.hooks.waiting({"gitlab": (1, datetime(2027, 1, 1, tzinfo=UTC))})
    metrics.certificate_expiry = lambda: datetime(2027, 1, 1, tzinfo=UTC)
    metrics.troubles = lambda: [("gitlab", UnitTrouble("a\ud800", Trouble.NOT_FOUND, "gone"))] * 2


def test_the_catalogue_is_what_is_exposed() -> None:
    world = World(cap=1)
    page = world.polled("gitlab", STATE).context.page
    page.swap("a", {STATE: [Sample(("a",), 1.0), Sample(("b",), 1.0)]})
    used(world)
    world.metrics.polls_waiting = lambda: {"gitlab": 7}
    exposed = {
        metric.name: metric
        for metric in world.metrics.collect()
        if not metric.name.startswith(("process_", "python_"))
    }
    assert list(exposed) == list(dict.fromkeys(exposed))
    assert exposed.keys() == {family.name for family in FAMILIES}
    for family in FAMILIES:
        metric = exposed[family.name]
        assert (metric.type, metric.documentation, metric.unit) == (family.kind, family.help, family.unit)
        assert metric.samples, family.name
        for sample in metric.samples:
            assert sample.labels.keys() - {"le"} == set(family.labels), family.name


def test_what_is_said_can_be_read() -> None:
    world = World()
    used(world)
    text = world.registry.render(Format.TEXT)
    assert check_metrics(text) == ""
    list(text_string_to_metric_families(world.registry.render(Format.OPENMETRICS).decode()))
    assert b"_created" not in text
    for line in (
        f'ci_exporter_build_info{{python_version="{platform.python_version()}",version="0.0.0"}} 1.0',
        'ci_exporter_api_requests_total{code="error",collector="gitlab",operation="pipelines"} 1.0',
        "ci_exporter_api_request_duration_seconds_bucket"
        '{collector="gitlab",le="0.5",operation="pipelines"} 1.0',
        'ci_exporter_api_request_duration_seconds_count{collector="gitlab",operation="pipelines"} 2.0',
        'ci_exporter_api_rate_limit_remaining{collector="gitlab"} 1999.0',
        'ci_exporter_unknown_values_total{collector="gitlab",kind="status"} 1.0',
        'ci_exporter_project_problem{collector="gitlab",project="a?",reason="not_found"} 1.0',
        "ci_exporter_leader 1.0",
    ):
        assert text.decode().splitlines().count(line) == 1, line
    assert b"process_resident_memory_bytes " in text
    assert b"python_info{" in text


def test_series_and_dropped_series_are_told_from_the_start() -> None:
    world = World(cap=2)
    page = world.polled("gitlab", STATE).context.page
    assert value(world, "ci_exporter_series_dropped_total", family="ci_state", reason="limit") == 0
    assert value(world, "ci_exporter_series", collector="gitlab") == 0
    page.swap("a", {STATE: [Sample((str(number),), 1.0) for number in range(5)]})
    assert value(world, "ci_exporter_series", collector="gitlab") == 2
    assert value(world, "ci_exporter_series_dropped_total", family="ci_state", reason="limit") == 3


def test_a_collector_that_is_gone_leaves_no_gauges_but_its_counters() -> None:
    world = World()
    used(world)
    world.metrics.forget("gitlab")
    world.metrics.forget("never seen")
    text = generate_latest(world.registry).decode()
    gauges = [line for line in text.splitlines() if 'collector="gitlab"' in line and "problem" not in line]
    assert {line.partition("{")[0] for line in gauges} == {
        "ci_exporter_api_requests_total",
        "ci_exporter_api_request_duration_seconds_bucket",
        "ci_exporter_api_request_duration_seconds_count",
        "ci_exporter_api_request_duration_seconds_sum",
        "ci_exporter_unknown_values_total",
        "ci_exporter_events_total",
        "ci_exporter_hooks_received_total",
        "ci_exporter_hooks_processing_seconds_bucket",
        "ci_exporter_hooks_processing_seconds_count",
        "ci_exporter_hooks_processing_seconds_sum",
    }


def test_two_of_them_do_not_share_anything() -> None:
    one, two = SelfMetrics("1"), SelfMetrics("2")
    one.leader.set(1)
    assert two.leader._value.get() == 0
