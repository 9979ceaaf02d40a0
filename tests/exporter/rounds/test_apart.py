"""What hangs in one collector, or in one sort of upkeep, delays no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from collectors.gitea import Gitea
from collectors.gitlab import GitLab
from exporter.config.load import Config
from exporter.config.schema import EngineSettings, Settings
from exporter.contract import Batch, Collector, CollectorConfig, Unit
from exporter.parts import Parts
from exporter.rendering import Format
from exporter.rounds import scheduler
from exporter.rounds.scheduler import Engine
from exporter.store.sql import SqlStore
from tests.support.engine import Service, wait_until
from tests.support.fakes import value
from tests.support.giteas import gitea
from tests.support.harness import PROJECT, gitlab
from tests.support.process import PATIENCE

CAPACITY = 2
SETTINGS = Settings(engine=EngineSettings(capacity=CAPACITY, fetch_timeout_seconds=600))
MANY = [Unit(str(number), f"group/{number}") for number in range(3 * CAPACITY)]


@pytest.fixture
def service(sqlite_url: str) -> Iterator[Service]:
    one = Service(sqlite_url, capacity=CAPACITY)
    yield one
    one.stop()
    one.store.close()


@pytest.fixture
def free() -> Iterator[threading.Event]:
    """Ends what hangs."""
    event = threading.Event()
    yield event
    event.set()


def test_a_source_that_hangs_delays_the_rounds_of_no_other_collector(
    service: Service, free: threading.Event
) -> None:
    frozen, other = service.source("frozen", *MANY), service.source("other", *MANY)
    frozen.answers = {unit.key: [lambda: (free.wait(PATIENCE), Batch())[1]] for unit in MANY}
    inside, all_at_once = [], threading.Barrier(CAPACITY, timeout=PATIENCE)

    def together() -> Batch:
        all_at_once.wait()
        inside.append(1)
        return Batch()

    other.answers = {unit.key: [together, Batch()] for unit in MANY}
    service.start(frozen, other)
    wait_until(lambda: len(frozen.polls) == CAPACITY, "all workers that it has in the frozen source")
    wait_until(lambda: all(other.polls.count(unit.key) > 3 for unit in MANY), "rounds of the other")
    assert len(inside) == len(MANY), "with as many polls at once as if it were alone"
    assert len(frozen.polls) == CAPACITY
    waiting = value(service.world, "ci_exporter_polls_waiting", collector="frozen")
    assert waiting in (len(MANY) - CAPACITY, len(MANY) - CAPACITY + 1), "and the next discovery, if it is due"


def test_a_discovery_that_hangs_delays_no_other_collector(service: Service, free: threading.Event) -> None:
    frozen, other = [service.source(f"frozen{one.key}") for one in MANY], service.source("other", *MANY)
    asked: list[int] = []
    for one in frozen:
        one.units = lambda: (asked.append(1), free.wait(PATIENCE), MANY)[2]
    service.start(*frozen, other)
    wait_until(lambda: len(asked) == len(frozen), "all discoveries")
    wait_until(lambda: all(other.polls.count(unit.key) > 3 for unit in MANY), "rounds of the other")


def test_upkeep_that_hangs_delays_neither_polls_nor_other_upkeep(
    service: Service, free: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_STANDBY_SECONDS", "_FOLLOW_SECONDS", "_RESUME_SECONDS", "_FIRST_PRUNE_SECONDS"):
        monkeypatch.setattr(scheduler, name, 0.02)
    begun: set[str] = set()

    def hang(name: str) -> None:
        begun.add(name)
        free.wait(PATIENCE)

    for name in ("_follow", "_resume", "_prune"):
        monkeypatch.setattr(service.engine, name, lambda name=name: hang(name))
    watches: list[int] = []
    watch = service.engine._watch_lease
    monkeypatch.setattr(service.engine, "_watch_lease", lambda: (watches.append(1), watch()))
    source = service.source("fake", *MANY)
    service.start(source)
    wait_until(lambda: begun == {"_follow", "_resume", "_prune"}, "the upkeep")
    seen, polls = len(watches), len(source.polls)
    wait_until(lambda: len(watches) > seen + 2, "the watch over the lease, again and again")
    wait_until(lambda: len(source.polls) > polls + len(MANY), "polls")


def test_the_capacity_is_that_of_every_collector_together(service: Service) -> None:
    lane = [Unit("1", "of a lane", lane="db")]
    sources = [
        service.source("one", *MANY),
        service.source("two", *MANY),
        service.source("lanes", *lane, lane_capacity=lambda *_: 3),
    ]
    assert service.engine.workers() == CAPACITY, "what a collector would have"
    service.engine.adopt(service.rounds(*sources))
    assert service.engine.workers() == 3 * CAPACITY, "also while another process polls"
    for source in sources:
        service.world.registry.add(source)
    service.engine.start()
    wait_until(lambda: sources[2].polls, "a poll of the lane")
    assert service.engine.workers() == 2 * CAPACITY + 3 + 1, "a lane's own, and one that discovers"


def test_after_a_reload_polls_of_the_source_before_do_not_hold_up_those_of_another(
    service: Service, free: threading.Event
) -> None:
    old, new = service.source("fake", *MANY), service.source("fake", *MANY, target="another")
    old.answers = {unit.key: [lambda: (free.wait(PATIENCE), Batch())[1]] for unit in MANY}
    service.start(old)
    wait_until(lambda: len(old.polls) == CAPACITY, "polls that hang")
    service.world.registry.replace(new)
    service.engine.replace(service.rounds(new))
    # Also of those units that are called there as others are here: they are not the same.
    wait_until(lambda: all(new.polls.count(unit.key) > 2 for unit in MANY), "polls of the other source")
    free.set()
    wait_until(lambda: len(poll_threads()) == CAPACITY, "the end of the workers before")


def test_after_a_reload_a_discovery_of_the_source_before_does_not_hold_up_that_of_another(
    service: Service, free: threading.Event
) -> None:
    old, new = service.source("fake", *MANY), service.source("fake", *MANY, target="another")
    asked: list[int] = []
    old.units = lambda: (asked.append(1), free.wait(PATIENCE), MANY)[2]
    service.start(old)
    wait_until(lambda: asked, "a discovery that hangs")
    service.world.registry.replace(new)
    service.engine.replace(service.rounds(new))
    wait_until(lambda: all(new.polls.count(unit.key) > 2 for unit in MANY), "polls of the other source")


def test_after_a_reload_polls_of_the_same_source_wait_for_those_before(
    service: Service, free: threading.Event
) -> None:
    old, new = service.source("fake", *MANY), service.source("fake", *MANY)
    old.answers = {MANY[0].key: [lambda: (free.wait(PATIENCE), Batch())[1]]}
    service.start(old)
    wait_until(lambda: MANY[0].key in old.polls, "a poll that hangs")
    service.world.registry.replace(new)
    service.engine.replace(service.rounds(new))
    wait_until(lambda: all(new.polls.count(unit.key) > 2 for unit in MANY[1:]), "polls of the other units")
    assert MANY[0].key not in new.polls, "no unit is polled twice at a time"
    free.set()
    wait_until(lambda: new.polls.count(MANY[0].key) > 2, "polls of it")


def poll_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("poll-fake-")]


# -- with real collectors ------------------------------------------------------------------------


def block(cls: type[Collector[Any]], server: Any, **watched: Any) -> CollectorConfig:
    """The configuration of a collector that polls its stand-in all the time."""
    return cls.config_model.model_validate(
        {
            "url": server.url,
            "token": server.token,
            "operations_per_second": 1000,
            "poll_interval_seconds": 0.05,
            "poll_interval_max_seconds": 0.05,
            **watched,
        }
    )


def test_new_runs_of_one_source_are_shown_while_another_one_takes_calls_and_never_answers(
    sqlite_url: str,
) -> None:
    now = int(time.time() * 1000)
    with gitlab(start=now) as frozen, gitea(start=now) as other:
        for unit in MANY:
            frozen.action("create_project", path=unit.name)
        other.action("create_project", path=PROJECT)
        blocks = {
            "gitlab": block(GitLab, frozen, all_projects="visible"),
            "gitea": block(Gitea, other, instance=True),
        }
        parts = Parts(Config(SETTINGS, blocks), SqlStore(sqlite_url))
        engine = Engine(
            parts.store,
            parts.metrics,
            parts.clock,
            capacity=CAPACITY,
            retention_days=400,
            dead_letter_days=400,
            stopping=parts.stopping,
        )
        try:
            engine.adopt(parts.rounds)
            engine.start()
            wait_until(lambda: engine.not_ready() is None, "the first round of both")
            frozen.faults({"kind": "hang", "seconds": 3600})
            wait_until(lambda: held(frozen) == CAPACITY, "calls without an answer")
            run_id = other.action("new_pipeline", project=PROJECT, jobs=[{"name": "unit"}])["pipeline_id"]
            shown = f'provider="gitea",ref="main",ref_kind="branch",source="push"}} {run_id}.0'
            wait_until(lambda: shown in parts.registry.render(Format.TEXT).decode(), "the new run")
            assert held(frozen) == CAPACITY, "the same calls still hang"
        finally:
            parts.stopping.set()
    assert engine.stop(PATIENCE)
    parts.close()


def held(server: Any) -> int:
    """How many calls a fault of the stand-in held up so far."""
    (rule,) = server.control("GET", "faults")["rules"]
    return int(rule["hits"])
