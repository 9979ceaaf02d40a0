"""Who may still put hooks into the queue: all together no more than it holds, and nobody all of it."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime

from exporter.hooks import Hook
from exporter.store.inbox import Arrived, Queued
from exporter.store.room import Filling, Room

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NAMES = ["forge", "mill", "kiln"]


def arrived(collector: str, size: int = 1) -> Arrived:
    return Arrived(collector, b"", Hook({}, b"x" * size, NOW))


def kept(filling: Filling, collector: str, count: int, size: int = 1) -> int:
    """How many of *count* hooks there is room for, which take it."""
    every = [arrived(collector, size)] * count
    fits = filling.fits(every, NAMES)
    filling.add(one for one, one_fits in zip(every, fits, strict=True) if one_fits)
    return sum(fits)


def test_who_comes_alone_has_half_and_a_share() -> None:
    assert kept(Filling(Room(60, 10**6)), "forge", 100) == 40
    assert kept(Filling(Room(10**6, 60)), "forge", 100) == 40


def test_all_but_one_may_flood_and_the_last_has_its_share() -> None:
    filling = Filling(Room(60, 10**6))
    assert [kept(filling, name, 100) for name in NAMES] == [40, 10, 10]
    assert kept(filling, "kiln", 1) == 0


def test_a_share_is_in_bytes_as_well() -> None:
    filling = Filling(Room(10**6, 60))
    assert [kept(filling, "forge", 100, 3), kept(filling, "mill", 100, 5)] == [13, 2]


def test_what_is_larger_than_a_share_is_taken_if_nothing_else_of_its_collector_waits() -> None:
    filling = Filling(Room(100, 60))
    assert kept(filling, "forge", 2, 60) == 1
    assert Filling(Room(100, 60)).fits([arrived("forge", 61)], NAMES) == [False]


def test_a_collector_without_a_share_has_what_is_for_all() -> None:
    assert kept(Filling(Room(60, 10**6)), "gone", 100) == 30


def test_one_that_is_alone_has_it_all() -> None:
    assert Filling(Room(2, 100)).fits([arrived("forge")] * 3, ["forge"]) == [True, True, False]


def test_no_order_of_arrivals_takes_more_than_there_is_or_keeps_anybody_from_its_share() -> None:
    chance = random.Random(11)
    filling = Filling(Room(60, 10**6))
    waiting: Counter[str] = Counter()
    for _ in range(300):
        name = chance.choices(NAMES, (8, 2, 1))[0]
        if not kept(filling, name, 1):
            assert waiting[name] >= 10
        else:
            waiting[name] += 1
        if chance.random() < 0.3 and (busy := +waiting):
            waiting[chance.choice(sorted(busy))] -= 1
            queued = {one: Queued(number, number, None) for one, number in waiting.items()}
            filling.measured(queued, filling.counted())
        assert waiting.total() <= 60
