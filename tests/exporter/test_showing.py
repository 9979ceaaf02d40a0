"""What sinks see of a scrape."""

from __future__ import annotations

from exporter.showing import ShownByRegistry
from tests.support.fakes import World


def test_it_shows_the_families_that_are_asked_for_as_they_are_now() -> None:
    world = World()
    ready = False
    shown = ShownByRegistry(world.registry, lambda: ready)
    world.metrics.collector_success.labels("sql").set(0)
    (first,) = shown.values(["ci_exporter_collector_success"])
    assert (first.name, first.labels, first.value) == (
        "ci_exporter_collector_success",
        {"collector": "sql"},
        0,
    )
    assert shown.values(["ci_exporter_collector_success"]) == [first]
    world.metrics.collector_success.labels("sql").set(1)
    assert [one.value for one in shown.values(["ci_exporter_collector_success"])] == [1]
    assert shown.values(["nothing"]) == []
    assert not shown.ready()
    ready = True
    assert shown.ready()
