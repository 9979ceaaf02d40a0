"""Every event is told once, as it was sent: whole worlds over several days against their own records."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest

from tests.support.harness import START, EventsLab

pytestmark = pytest.mark.no_cover  # long, through code that smaller tests cover

WORLD = {"projects": 4, "pipelines_per_hour": 4, "changes_per_hour": 0.5}
MIDNIGHT = datetime.fromisoformat(START[:10] + "T00:00:00Z")
FAULTS: tuple[Mapping[str, Any], ...] = (
    {"kind": "status", "status": 429, "retry_after": 0, "probability": 0.2},
    {"kind": "status", "status": 500, "probability": 0.4},
    {"kind": "status", "status": 502, "path": "/events", "probability": 0.5},
    {"kind": "cut", "probability": 0.2},
    {"kind": "truncated_json", "probability": 0.3},
    {"kind": "wrong_shape", "shape": "object", "probability": 0.1},
    {"kind": "wrong_shape", "shape": "string_ids", "path": "/events", "probability": 0.2},
    {"kind": "wrong_shape", "shape": "null", "probability": 0.2},
    {"kind": "same_page", "path": "[?&]page=[2-9]", "probability": 0.5},
    {"kind": "drop", "probability": 0.2},
)


def settle(lab: EventsLab) -> None:
    """Let what is late be seen and read, without faults."""
    lab.server.faults()
    lab.act("pause")
    for _ in range(8):
        lab.round(600, tries=4)


def assert_told_once(lab: EventsLab, known: int = 30) -> None:
    """What was told is what happened, byte for byte, once, and nothing else; at least *known* events."""
    happened = {
        str(event["id"]): event["text"].encode()
        for event in lab.server.events()
        if datetime.fromisoformat(event["created_at"]) >= MIDNIGHT
    }
    gone = set(lab.server.truth(past=False)["deleted_projects"])
    told = [event for event in lab.told() if event.key not in gone]
    assert len(happened) > known
    assert [number for number, count in Counter(event.id for event in told).items() if count > 1] == []
    assert {event.id.rpartition("/")[2]: event.data for event in told} == happened


def hours(lab: EventsLab, chance: random.Random, count: int, *, longest: float = 3_000) -> None:
    for _ in range(count):
        lab.round(chance.uniform(30, longest))


@pytest.mark.parametrize("admin", [True, False])
def test_days_are_told_as_they_happened(events_of: Callable[..., EventsLab], admin: bool) -> None:
    lab = events_of({**WORLD, "seed": 1 + admin, "admin": admin}, per_page=5)
    hours(lab, random.Random(1), 30, longest=12_000)
    settle(lab)
    assert_told_once(lab)


def test_faults_cost_nothing(events_of: Callable[..., EventsLab]) -> None:
    lab = events_of({**WORLD, "seed": 3}, per_page=3)
    chance = random.Random(3)
    for _ in range(40):
        lab.server.faults(*chance.sample(FAULTS, 2) if chance.random() < 0.7 else ())
        hours(lab, chance, 1)
    settle(lab)
    assert_told_once(lab)


def test_restarts_at_any_moment_cost_nothing(events_of: Callable[..., EventsLab]) -> None:
    lab = events_of({**WORLD, "seed": 4}, per_page=5)
    chance = random.Random(4)
    for _ in range(25):
        lab.advance(chance.uniform(30, 3_000))
        if chance.random() < 0.5:
            # Killed in the middle of a round: the source answers no more after some calls.
            lab.server.faults({"kind": "drop", "skip": chance.randrange(20)})
            lab.round()
            lab.server.faults()
            lab.restart()
        lab.round()
    settle(lab)
    assert_told_once(lab)


def test_two_exporters_on_one_store_tell_each_event_once(events_of: Callable[..., EventsLab]) -> None:
    lab = events_of({**WORLD, "seed": 5}, per_page=5)
    other = lab.start()
    chance = random.Random(5)
    for _ in range(20):
        lab.advance(chance.uniform(30, 3_000))
        for one in (lab.exporter, other):
            one.discover()
        threads = [threading.Thread(target=one.poll) for one in (lab.exporter, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    settle(lab)
    assert_told_once(lab)


@pytest.mark.parametrize("minutes", [1, 20_000])
def test_the_memory_may_be_short_and_is_forgotten_in_time(
    events_of: Callable[..., EventsLab], minutes: int
) -> None:
    lab = events_of({**WORLD, "seed": 6}, cache_ttl_minutes=minutes)
    chance = random.Random(6)
    forgotten = 0
    for _ in range(7):
        for _ in range(6):
            lab.round(chance.uniform(600, 28_000))
        forgotten += lab.exporter.store.outbox.forget(lab.clock.now())
    settle(lab)
    forgotten += lab.exporter.store.outbox.forget(lab.clock.now())
    assert_told_once(lab)
    assert (forgotten > 0) is (minutes == 1)


@pytest.mark.parametrize("days", [2, 3, 10])
def test_nothing_is_lost_or_doubled_over_a_long_silence(
    events_of: Callable[..., EventsLab], days: int
) -> None:
    lab = events_of({**WORLD, "seed": 7})
    for _ in range(10):
        lab.round(1_800)
    lab.act("pause")
    lab.round(1_200)  # what was late is seen before the silence
    lab.round(4_000)
    lab.act("pause", paused=False)
    lab.advance(days * 86_400)
    lab.exporter.store.outbox.forget(lab.clock.now())
    lab.restart()
    lab.round()
    settle(lab)
    assert_told_once(lab)


def test_events_of_a_project_are_told_in_their_order(events_of: Callable[..., EventsLab]) -> None:
    lab = events_of({"admin": True, "projects": 0})
    chance = random.Random(8)
    for _ in range(25):
        for _ in range(chance.randrange(4)):
            lab.act("event", project="acme/p", user=chance.randrange(1, 7))
            lab.act("event", user=chance.randrange(1, 7))
        lab.advance(chance.uniform(10, 4_000))
        lab.exporter.discover()
        for state in reversed(lab.exporter.rounds.states()):  # users first
            lab.exporter.rounds.visit(state)
    settle(lab)
    numbers = lab.numbers("101")
    assert len(numbers) > 20
    assert numbers == sorted(numbers)
