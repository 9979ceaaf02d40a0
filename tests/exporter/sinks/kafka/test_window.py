"""What may fly together, and what is through."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError

from exporter.model.events import Entry
from exporter.sinkmetrics import Delivery
from exporter.sinks.kafka import window as windows
from exporter.sinks.kafka.window import Flight, Window


@pytest.fixture
def window(events):
    return Window(10, lambda event: event.key.encode(), events=6, size=1_000_000)


@pytest.fixture
def fill(window, events):
    """Adds events with *keys* at positions 11, 12…"""

    def add(keys: str, ours: list[bool] | None = None) -> None:
        first = window.seen + 1
        entries = [Entry(first + index, events(first + index, key)) for index, key in enumerate(keys)]
        window.add(entries, ours or [True] * len(entries))

    return add


def send(window: Window) -> list[Flight]:
    """Send all that may be sent."""
    sent = []
    while flight := window.next():
        window.sent(flight)
        sent.append(flight)
    return sent


def positions(flights: list[Flight]) -> list[int]:
    return [flight.entry.position for flight in flights]


def report(flight: Flight, code: int | None = None) -> None:
    message: Any = None
    flight(None if code is None else KafkaError(code), message)


def test_the_first_event_of_a_key_flies_alone_of_its_key(window, fill):
    fill("aabab")
    first = send(window)
    assert positions(first) == [11, 13]
    report(first[1])
    window.settle()
    assert positions(send(window)) == [15]
    report(first[0])
    assert window.settle() == {Delivery.SUCCESS: 1}
    assert positions(send(window)) == [12, 14]
    fill("ab")
    assert positions(send(window)) == [16, 17]


def test_the_position_passes_only_what_is_delivered_below(window, fill):
    fill("abc")
    one, two, three = send(window)
    report(two)
    report(three)
    assert window.settle() == {}
    assert window.reached == 10
    report(one)
    assert window.settle() == {Delivery.SUCCESS: 3}
    assert window.reached == 13
    assert len(window) == 0


def test_there_is_room_up_to_the_bounds_and_none_before_all_was_sent(window, fill, events):
    assert window.room == 6
    fill("abcd")
    assert window.room == 0
    sent = send(window)
    assert window.room == 2
    report(sent[3])
    window.settle()
    assert window.room == 2
    report(sent[0])
    window.settle()
    assert window.room == 3
    window.add([Entry(99, events(99, data=b"x" * 1_000_000))], [True])
    send(window)
    assert window.room == 0


def test_after_a_failure_the_undelivered_are_sent_again_in_order(window, fill):
    fill("abca")
    one, two, three = send(window)
    report(two)
    report(one, KafkaError.NOT_ENOUGH_REPLICAS)
    report(three, KafkaError._PURGE_QUEUE)
    assert window.failures == 2
    failed = window.start_over()
    assert [(flight.entry.position, error.code()) for flight, error in failed] == [
        (11, KafkaError.NOT_ENOUGH_REPLICAS),
        (13, KafkaError._PURGE_QUEUE),
    ]
    assert (window.flying, window.failures) == (0, 0)
    assert positions(send(window)) == [11, 13]
    report(one)
    window.settle()
    assert positions(send(window)) == [14]
    assert window.reached == 12


def test_suspects_fly_one_at_a_time(window, fill):
    fill("abcd")
    window.alone_until = 12
    (one,) = send(window)
    report(one)
    window.settle()
    (two,) = send(window)
    report(two)
    window.settle()
    assert positions(send(window)) == [13, 14]


def test_what_is_buried_or_told_by_others_is_passed(window, fill):
    fill("abc", [True, False, True])
    first = window.next()
    window.bury(first)
    (three,) = send(window)
    assert window.settle() == {Delivery.DEAD_LETTER: 1, Delivery.DUPLICATE: 1}
    report(three)
    assert window.settle() == {Delivery.SUCCESS: 1}


def test_without_keys_all_fly_together(events):
    window = Window(0, lambda _: None, events=10, size=1_000_000)
    window.add([Entry(position, events(position)) for position in range(1, 6)], [True] * 5)
    assert positions(send(window)) == [1, 2, 3, 4, 5]


def test_keys_are_not_kept_in_mind_for_ever(window, fill, monkeypatch):
    monkeypatch.setattr(windows, "_PROVEN_KEYS", 2)
    fill("abc")
    for flight in send(window):
        report(flight)
    window.settle()
    fill("aa")
    assert positions(send(window)) == [14, 15]
    window.settle()
    fill("bb")
    assert positions(send(window)) == [16]
