"""The registry: collectors side by side, none of which can hurt the others."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.samples import Exemplar

from exporter.errors import ConfigError
from exporter.families import Sample, counter, gauge, histogram
from exporter.rendering import Format
from tests.support.fakes import PageCollector, World, value
from tests.support.promtool import check_metrics

STATE = gauge("ci_state", "State.", ("project",))
RUNS = counter("ci_runs_total", "Runs.", ("project",))
LIVE = gauge("ci_live", "Live.", ("project",))
TIMES = histogram("ci_time_seconds", "Time.", ("project",), buckets=(1, 10))


def live_metric(*projects: object) -> list[Metric]:
    metric = LIVE.metric()
    for project in projects:
        metric.add_sample("ci_live", {"project": project}, 1.0)  # type: ignore[dict-item]
    return [metric]


def lines(world: World, **filters: Any) -> list[str]:
    """The sample lines of a scrape that are not about the exporter itself."""
    text = world.registry.render(Format.TEXT, **filters).decode()
    return [line for line in text.splitlines() if line.startswith("ci_") and "ci_exporter_" not in line]


def test_a_family_declared_as_the_same_object_is_shared() -> None:
    world = World()
    world.polled("one", STATE).context.page.swap("a", {STATE: [Sample(("a",), 1.0)]})
    world.polled("two", STATE).context.page.swap("b", {STATE: [Sample(("b",), 2.0)]})
    assert lines(world) == ['ci_state{project="a"} 1.0', 'ci_state{project="b"} 2.0']
    assert world.registry.render(Format.TEXT).count(b"# HELP ci_state ") == 1


@pytest.mark.parametrize("first_is_live", [False, True])
@pytest.mark.parametrize("form", list(Format))
def test_a_family_shared_by_a_polled_and_a_live_collector_comes_once(
    first_is_live: bool, form: Format
) -> None:
    world = World()
    if first_is_live:
        world.live("live", LIVE, read=lambda: live_metric("l"))
    world.polled("polled", STATE, LIVE).context.page.swap("a", {LIVE: [Sample(("p",), 1.0)]})
    if not first_is_live:
        world.live("live", LIVE, read=lambda: live_metric("l"))
    text = world.registry.render(form).decode()
    assert text.count("# TYPE ci_live gauge") == 1
    assert sorted(lines(world)) == ['ci_live{project="l"} 1.0', 'ci_live{project="p"} 1.0']
    assert lines(world, collectors=["polled"]) == ['ci_live{project="p"} 1.0']
    generate = generate_latest if form is Format.TEXT else generate_openmetrics
    expected = generate(world.registry).decode()
    assert text.partition("process_")[0] == expected.partition("process_")[0]
    world.registry.discard("live")
    assert world.registry.render(Format.TEXT).count(b"# TYPE ci_live gauge") == 1


def test_two_live_collectors_share_a_family_without_changing_each_others_metrics() -> None:
    world = World()
    kept = live_metric("a")
    world.live("one", LIVE, read=lambda: kept)
    world.live("two", LIVE, read=lambda: live_metric("b"))
    for _ in range(2):
        assert lines(world) == ['ci_live{project="a"} 1.0', 'ci_live{project="b"} 1.0']
    assert len(kept[0].samples) == 1


def test_a_live_collector_has_one_head_although_it_was_given_a_page() -> None:
    world = World()
    world.live("live", LIVE, read=lambda: live_metric("a"))
    for form in Format:
        assert world.registry.render(form).count(b"# HELP ci_live ") == 1
    assert check_metrics(world.registry.render(Format.TEXT)) == ""


@pytest.mark.parametrize(
    "clash",
    [
        gauge("ci_state", "Other."),
        counter("ci_state_total", "Other."),
        gauge("ci_runs_total", "Other."),
        gauge("ci_runs", "Other."),
        gauge("ci_time_seconds_bucket", "Other."),
        gauge("ci_time_seconds_count", "Other."),
        gauge("ci_exporter_collector_success", "Other."),
        counter("process_cpu_seconds_total", "Other."),
    ],
    ids=lambda family: family.exposed_name,
)
def test_two_declarations_of_one_name_are_refused_naming_both_collectors(clash: Any) -> None:
    world = World()
    world.polled("one", STATE, RUNS, TIMES)
    before = world.registry.render(Format.TEXT)
    with pytest.raises(
        ConfigError, match=r"collector two declares the metric \w+, which collector (one|exporter)"
    ):
        world.polled("two", LIVE, clash)
    assert world.registry.names() == ["one", "exporter"]
    assert b"ci_live" not in before + world.registry.render(Format.TEXT)


def test_a_collector_that_declares_a_name_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="collector one declares the metric ci_state twice"):
        World().polled("one", STATE, gauge("ci_state", "Other."))


@pytest.mark.parametrize("name", ["one", "exporter"])
def test_a_second_collector_of_a_name_is_refused(name: str) -> None:
    world = World()
    world.polled("one", STATE)
    with pytest.raises(ConfigError, match=f"a collector named {name} already"):
        world.polled(name, RUNS)


def test_a_discarded_collector_takes_its_series_and_frees_its_names() -> None:
    world = World()
    world.polled("one", STATE).context.page.swap("a", {STATE: [Sample(("a",), 1.0)]})
    world.live("two", LIVE, read=lambda: live_metric("b"))
    own = GaugeMetricFamily("ci_own", "Own.")
    world.registry.add(
        world.build(
            PageCollector, name="own", polled=False, describe=lambda _: iter([own]), collect=lambda _: [own]
        )
    )
    world.registry.discard("one")
    assert lines(world) == ['ci_live{project="b"} 1.0']
    world.polled("new", gauge("ci_state", "Other."))
    with pytest.raises(ConfigError, match="which collector own already has"):
        world.polled("newer", gauge("ci_own", "Other."))


def test_a_replaced_collector_keeps_its_series() -> None:
    world = World()
    world.polled("one", STATE).context.page.swap("a", {STATE: [Sample(("a",), 1.0)]})
    world.registry.replace(world.build(PageCollector, name="one", families=(STATE,)))
    assert lines(world) == ['ci_state{project="a"} 1.0']
    with pytest.raises(ConfigError):
        world.polled("two", gauge("ci_state", "Other."))


def broken_reads() -> dict[str, Any]:
    def raising() -> Iterable[Metric]:
        raise RuntimeError("boom")

    def halfway() -> Iterator[Metric]:
        yield from live_metric("a")
        raise RuntimeError("boom")

    def sample(name: str, labels: Any, number: Any, **more: Any) -> list[Metric]:
        metric = LIVE.metric()
        metric.add_sample(name, labels, number, **more)
        return [metric]

    return {
        "raises": raising,
        "raises halfway": halfway,
        "returns None": lambda: None,
        "None label": lambda: live_metric("a", None),
        "number label": lambda: live_metric(5),
        "bytes label": lambda: live_metric(b"x"),
        "surrogate": lambda: live_metric("\ud800"),
        "None value": lambda: sample("ci_live", {}, None),
        "text value": lambda: sample("ci_live", {}, "abc"),
        "huge value": lambda: sample("ci_live", {}, 10**400),
        "undeclared family": lambda: [*live_metric("a"), GaugeMetricFamily("ci_stranger", "S.", value=1)],
        "family of another collector": lambda: [GaugeMetricFamily("ci_state", "S.", value=1)],
        "another type": lambda: [CounterMetricFamily("ci_live", "L.", value=1)],
        "sample of another family": lambda: sample("ci_state", {"project": "x"}, 1.0),
    }


@pytest.mark.parametrize("what", broken_reads())
def test_a_live_collector_that_fails_costs_only_its_own_families(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    world.polled("good", STATE).context.page.swap("a", {STATE: [Sample(("a",), 1.0)]})
    read = broken_reads()[what]
    state = {"broken": True}
    world.live("bad", LIVE, read=lambda: read() if state["broken"] else live_metric("ok"))
    world.live("fine", RUNS, read=lambda: [CounterMetricFamily("ci_runs", "Runs.", value=3)])
    for form in Format:
        text = world.registry.render(form).decode()
        assert 'ci_state{project="a"} 1.0' in text
        assert "ci_runs_total 3.0" in text
        assert "ci_live{" not in text
        assert 'ci_exporter_collector_success{collector="bad"} 0.0' in text
        assert 'ci_exporter_collector_success{collector="fine"} 1.0' in text
    generate_latest(world.registry)
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1
    state["broken"] = False
    text = world.registry.render(Format.TEXT).decode()
    assert 'ci_live{project="ok"} 1.0' in text
    assert 'ci_exporter_collector_success{collector="bad"} 1.0' in text


def test_what_only_openmetrics_cannot_write_costs_only_its_own_families() -> None:
    world = World()
    metric = LIVE.metric()
    metric.add_sample("ci_live", {}, 1.0, exemplar=Exemplar({"trace": "x"}, 1.0))
    world.live("bad", LIVE, read=lambda: [metric])
    assert b"ci_live{" not in world.registry.render(Format.OPENMETRICS)
    assert value(world, "ci_exporter_collector_success", collector="bad") == 0


def test_a_polled_collector_that_raises_when_read_costs_nobody_else() -> None:
    world = World()

    def raising(_self: object) -> Iterator[Metric]:
        raise RuntimeError("boom")

    world.registry.add(world.build(PageCollector, name="bad", families=(RUNS,), collect=raising))
    world.polled("good", STATE).context.page.swap("a", {STATE: [Sample(("a",), 1.0)]})
    text = generate_latest(world.registry).decode()
    assert 'ci_state{project="a"} 1.0' in text
    assert "# HELP ci_runs" not in text
    assert 'ci_exporter_collector_success{collector="bad"} 0.0' in text


def test_a_collector_that_cannot_describe_itself_is_taken_as_declared() -> None:
    world = World()

    def raising(_self: object) -> Iterator[Metric]:
        raise RuntimeError("boom")

    world.registry.add(world.build(PageCollector, name="bad", families=(RUNS,), describe=raising))
    assert value(world, "ci_exporter_collector_success", collector="bad") == 0
    with pytest.raises(ConfigError, match="which collector bad already has"):
        world.polled("two", gauge("ci_runs", "Other."))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["ci_runs"], ["ci_runs_total"]),
        (["ci_runs_total"], ["ci_runs_total"]),
        (["ci_state", "ci_live"], ["ci_state", "ci_live"]),
        (["ci_time_seconds_sum"], []),
        (["ci_nothing"], []),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_names_choose_families_by_their_own_name_or_that_of_a_sample(
    names: list[str], expected: list[str], packed: bool
) -> None:
    world = World()
    page = world.polled("one", STATE, RUNS, TIMES).context.page
    page.swap("a", {STATE: [Sample(("a",), 1.0)], RUNS: [Sample(("a",), 1.0)]})
    world.live("two", LIVE, read=lambda: live_metric("a"))
    body = world.registry.render(Format.TEXT, names=names, gzip=packed)
    text = (gzip.decompress(body) if packed else body).decode()
    assert [line.partition("{")[0] for line in text.splitlines() if not line.startswith("#")] == expected
    assert ("ci_time_seconds histogram" in text) == (names == ["ci_time_seconds_sum"])
    assert "ci_exporter_" not in text


def test_names_choose_our_own_families_too() -> None:
    text = World().registry.render(Format.OPENMETRICS, names=["ci_exporter_build_info"]).decode()
    assert text.splitlines()[1] == "# TYPE ci_exporter_build_info gauge"
    assert text.endswith("# EOF\n")
    assert len(text.splitlines()) == 4


def test_collectors_are_chosen_by_name() -> None:
    world = World()
    world.polled("one", STATE, LIVE).context.page.swap("a", {STATE: [Sample(("a",), 1.0)]})
    world.live("two", RUNS, read=lambda: [CounterMetricFamily("ci_runs", "Runs.", value=3)])
    assert lines(world, collectors=["one"]) == ['ci_state{project="a"} 1.0']
    assert lines(world, collectors=["two"]) == ["ci_runs_total 3.0"]
    assert lines(world, collectors=["exporter"]) == []
    only_ours = world.registry.render(Format.TEXT, collectors=["exporter"])
    assert b"ci_exporter_build_info{" in only_ours
    assert b"ci_exporter_" not in world.registry.render(Format.TEXT, collectors=["one", "two"])


def test_an_unknown_collector_is_a_lookup_error_that_says_which_there_are() -> None:
    world = World()
    world.polled("one", STATE)
    with pytest.raises(LookupError, match="no collector named nine, two; there are exporter, one"):
        world.registry.render(Format.TEXT, collectors=["two", "one", "nine"])
