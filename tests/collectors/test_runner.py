"""The collector `runner`: what the engine counted, under a namespace of the operator's choice."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from collectors.runner import Runner, RunnerConfig
from exporter.contract import Context
from exporter.rendering import Format
from tests.support.fakes import World

ENGINE = """\
# HELP act_runner_info Constant 1; labels tell the version and the name.
# TYPE act_runner_info gauge
act_runner_info{name="builder",version="0.0.0"} 1.0
# HELP act_runner_capacity Jobs that can run at once.
# TYPE act_runner_capacity gauge
act_runner_capacity 4.0
"""


@pytest.fixture
def world() -> World:
    made = World()
    made.metrics.work.capacity = 4
    return made


def runner(world: World, **block: Any) -> Runner:
    config = RunnerConfig.model_validate(block)
    context = Context(
        page=world.exposition.page("runner", Runner.families),
        clock=world.clock,
        api=world.metrics.observer("runner"),
        stopping=world.stopping,
        work=world.metrics.work,
    )
    collector = Runner(config, context)
    world.registry.add(collector)
    return collector


def text(world: World, form: Format = Format.TEXT) -> str:
    return world.registry.render(form, collectors=["runner"]).decode()


def test_it_shows_the_engines_work_under_the_configured_names(world: World) -> None:
    runner(world, namespace="act_runner", name="builder")
    world.metrics.work.begin("gitlab")
    assert text(world).startswith(ENGINE)
    with world.metrics.work.fetch("gitlab") as fetch:
        fetch.found()
    assert 'act_runner_poll_fetch_total{collector="gitlab",result="task"} 1.0\n' in text(world)
    assert "ci_exporter_" not in text(world)


def test_the_names_are_our_own_unless_configured(world: World) -> None:
    runner(world)
    names = {line.split("{")[0].split()[0] for line in text(world).splitlines() if line[0] != "#"}
    assert "ci_exporter_job_running" in names
    assert all(name.startswith("ci_exporter_") for name in names)


def test_counters_go_on_through_a_reload_and_a_change_of_names(world: World) -> None:
    old = runner(world)
    world.metrics.work.skipped("gitlab")
    world.registry.discard("runner")
    runner(world, namespace="act_runner")
    world.metrics.work.skipped("gitlab")
    assert 'act_runner_job_total{collector="gitlab",status="skipped"} 2.0' in text(world)
    old.close()


def test_openmetrics_takes_it_too(world: World) -> None:
    runner(world)
    world.metrics.work.begin("gitlab")
    assert "# UNIT ci_exporter_poll_fetch_duration_seconds seconds\n" in text(world, Format.OPENMETRICS)
    assert text(world, Format.OPENMETRICS).endswith("# EOF\n")


@pytest.mark.parametrize("namespace", ["", "act-runner", "1st", "a b"])
def test_a_namespace_that_is_none_is_refused(namespace: str) -> None:
    with pytest.raises(ValidationError):
        RunnerConfig.model_validate({"namespace": namespace})


def test_failed_calls_of_any_collector_count_by_operation(world: World) -> None:
    runner(world)
    observer = world.metrics.observer("gitlab")
    for code in ("200", "304", "404", "502", "error"):
        observer.request("list_projects", code, 0.1)
    assert 'ci_exporter_client_errors_total{method="list_projects"} 3.0' in text(world)
