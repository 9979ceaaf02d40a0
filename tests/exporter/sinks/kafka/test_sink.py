"""Events reach the topic once they are in the outbox: none is lost, reordered or held up by another."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError

from exporter.errors import SinkError, StoreError
from exporter.model.events import Event
from exporter.sinks.kafka import sink as sinks
from exporter.sinks.kafka import telling
from exporter.sinks.kafka.producing import Line
from tests.support.engine import wait_until
from tests.support.kafka import ce_id, headers_of, make_fatal


def by_key(messages: Sequence[Any]) -> dict[str, list[int]]:
    """``key -> serials`` in the order in which a consumer got them."""
    found: dict[str, list[int]] = defaultdict(list)
    for message in messages:
        found[message.key().decode()].append(json.loads(message.value())["id"])
    return found


# -- delivery ------------------------------------------------------------------------------------


def test_an_event_arrives_as_it_is_with_its_key_and_its_headers(rig, events):
    rig.tell(events(4711, "12", data=b'{"title": "\xe2\x98\x83",  "id":4711}'))
    rig.deliver()
    (message,) = rig.messages(1)
    assert message.value() == b'{"title": "\xe2\x98\x83",  "id":4711}'
    assert message.key() == b"12"
    assert headers_of(message) == {
        "ce_specversion": "1.0",
        "ce_id": "host/4711",
        "ce_source": "https://host/12",
        "ce_type": "com.host.pushed",
        "ce_subject": "12",
        "ce_time": "2026-03-01T12:00:00.250000Z",
        "content-type": "application/json",
    }


def test_many_events_arrive_once_each_and_in_order_of_their_key(rig, events):
    sent = events.some(3000, keys=7)
    rig.tell(*sent)
    rig.deliver()
    found = by_key(rig.messages(3000))
    assert found == {str(key): list(range(key, 3000, 7)) for key in range(7)}
    assert rig.deliveries("success") == 3000
    assert rig.value("ci_exporter_sink_success") == 1
    assert rig.report("report_log_total", result="success") >= 1
    assert rig.report("report_log_total", result="error") == 0
    assert rig.report("report_log_buffer_rows") == 0


def test_what_is_saved_while_it_waits_is_delivered_at_once(rig, events, monkeypatch):
    monkeypatch.setattr(sinks, "_LOOK_SECONDS", 3600.0)
    with rig.running(rig.sink()):
        wait_until(lambda: rig.value("ci_exporter_sink_success") == 1, "it found nothing to deliver")
        rig.tell(events(1))
        rig.until_delivered()


def test_what_another_process_saved_is_seen_without_a_bell(rig, events, monkeypatch):
    monkeypatch.setattr(sinks, "_LOOK_SECONDS", 0.01)
    with rig.running(rig.sink()):
        wait_until(lambda: rig.value("ci_exporter_sink_success") == 1, "it found nothing to deliver")
        with rig.store._write() as connection:
            rig.store.outbox.add(connection, [events(1)], events(1).time)
        rig.until_delivered()


def test_a_new_process_goes_on_where_the_one_before_ended(rig, events):
    rig.tell(*events.some(50))
    rig.deliver()
    rig.tell(*events.some(50, first=50))
    rig.deliver()
    assert by_key(rig.messages(100)) == {"0": list(range(100))}


def test_a_crash_between_acknowledgement_and_saving_sends_again_with_the_same_ids(rig, events, monkeypatch):
    rig.tell(*events.some(20))
    with monkeypatch.context() as patched:
        patched.setattr(rig.store.outbox, "advance", refuse)
        with rig.running(rig.sink()):
            wait_until(lambda: rig.raised, "the position cannot be saved")
    assert isinstance(rig.raised.pop(), StoreError)
    rig.deliver()
    with rig.cluster.reader("data-bus") as reader:
        reader.until(lambda messages: len(messages) > 20)
        assert {ce_id(one) for one in reader.messages} == {f"host/{serial}" for serial in range(20)}


def refuse(*_: Any) -> None:
    raise StoreError("the database is away")


@pytest.mark.parametrize(("key", "expected"), [("subject", b"https://host/7/7"), ("none", None)])
def test_the_key_can_be_chosen(rig, events, key, expected):
    rig.tell(*(events(serial, "7") for serial in range(3)))
    rig.deliver(rig.sink(key=key))
    assert {message.key() for message in rig.messages(3)} == {expected}


def test_the_partition_is_the_one_that_java_producers_choose(rig, events):
    rig.cluster.topic("data-bus", 12)
    rig.tell(events(1, "4711"), events(2, "foobar"))
    rig.deliver()
    # murmur2 as in Utils.java of Apache Kafka, whose tests have foobar = -790332482.
    assert murmur2(b"foobar") == -790332482
    partitions = {message.key(): message.partition() for message in rig.messages(2)}
    assert partitions == {key: (murmur2(key) & 0x7FFFFFFF) % 12 for key in (b"4711", b"foobar")}


def murmur2(data: bytes) -> int:
    """The hash of Kafka's DefaultPartitioner."""
    factor, mask = 0x5BD1E995, 0xFFFFFFFF
    value = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * factor & mask
        value = (value * factor & mask) ^ ((word ^ word >> 24) * factor & mask)
    if data[whole:]:
        value = (value ^ int.from_bytes(data[whole:], "little")) * factor & mask
    value = (value ^ value >> 13) * factor & mask
    value ^= value >> 15
    return value - (1 << 32) if value >> 31 else value


# -- events that nobody will take ----------------------------------------------------------------


def test_an_event_larger_than_allowed_is_a_dead_letter_and_holds_up_none(rig, events):
    rig.tell(events(1), events(2, data=b'"%s"' % (b"x" * 5000)), events(3))
    rig.deliver(rig.sink(max_event_bytes=2000))
    assert [ce_id(one) for one in rig.messages(2)] == ["host/1", "host/3"]
    assert rig.dead() == [("host/2", "it is larger than max_event_bytes, 2000")]
    assert rig.deliveries("dead_letter") == 1
    assert rig.value("ci_exporter_dead_letters") == 1


def test_an_event_larger_than_all_that_may_fly_is_delivered(rig, events):
    rig.tell(events(1), events(2, data=b'"%s"' % (b"x" * 50_000)), events(3))
    rig.deliver(rig.sink(in_flight_bytes=1000))
    assert len(rig.messages(3)) == 3


def test_of_a_refused_batch_only_what_is_refused_alone_is_a_dead_letter(rig, events):
    rig.cluster.topic("data-bus", 1)
    rig.tell(*events.some(5, keys=5))
    rig.cluster.refuse(KafkaError.INVALID_RECORD, KafkaError.INVALID_RECORD)
    rig.deliver(rig.sink(linger_milliseconds=100))
    assert [ce_id(one) for one in rig.messages(4)] == ["host/1", "host/2", "host/3", "host/4"]
    assert [event for event, _ in rig.dead()] == ["host/0"]


def test_a_batch_that_is_too_large_only_as_a_whole_is_delivered_in_parts(rig, events):
    rig.cluster.topic("data-bus", 1)
    rig.tell(*events.some(5, keys=5))
    rig.cluster.refuse(KafkaError.MSG_SIZE_TOO_LARGE)
    rig.deliver(rig.sink(linger_milliseconds=100))
    assert len(rig.messages(5)) == 5
    assert rig.dead() == []


def test_an_event_that_fits_no_envelope_is_a_dead_letter(rig, events):
    rig.tell(events(1, stream="runs", data=b"no JSON"), events(2))
    rig.deliver(rig.sink(format="cdevents"))
    assert len(rig.messages(1)) == 1
    ((event, reason),) = rig.dead()
    assert event == "host/1"
    assert reason.startswith("it cannot be put into the format cdevents: ")


# -- brokers that fail ---------------------------------------------------------------------------


def test_an_outage_loses_and_doubles_nothing_and_is_seen_meanwhile(rig, events, caplog, monkeypatch):
    monkeypatch.setattr(telling, "_COUNT_SECONDS", 0.05)
    rig.tell(*events.some(200, keys=3))
    rig.deliver()
    with rig.running(rig.sink()):
        wait_until(lambda: rig.value("ci_exporter_sink_success") == 1, "it found nothing to deliver")
        rig.cluster.stop()
        rig.tell(*events.some(300, keys=3, first=200))
        wait_until(lambda: rig.value("ci_exporter_sink_success") == 0, "the failure is shown")
        wait_until(lambda: rig.report("report_log_buffer_rows") == 300, "the rows that wait are shown")
        assert rig.deliveries("error") >= 1
        assert rig.report("report_log_total", result="error") >= 1
        wait_until(lambda: rig.value("ci_exporter_outbox_events") == 300, "what waits is counted")
        assert rig.value("ci_exporter_outbox_oldest_event_timestamp_seconds") == 1772366400.25
        rig.cluster.start()
        rig.until_delivered()
        wait_until(lambda: rig.value("ci_exporter_sink_success") == 1, "the success is shown")
    assert rig.raised == []
    assert by_key(rig.messages(500)) == {str(key): list(range(key, 500, 3)) for key in range(3)}
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert warnings == ["sink cannot deliver"]
    (reason,) = [one.error for one in caplog.records if one.levelno == logging.WARNING]
    assert reason.startswith("no broker can be reached: 127.0.0.1:"), "it says which one, and why"


def test_a_refused_batch_is_kept_and_tried_again(rig, events, caplog):
    rig.cluster.refuse(*[KafkaError.TOPIC_AUTHORIZATION_FAILED] * 2)
    rig.tell(*events.some(100))
    rig.deliver()
    assert by_key(rig.messages(100)) == {"0": list(range(100))}
    assert rig.dead() == []
    assert rig.deliveries("error") >= 1
    (warning,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert warning.error == "Broker: Topic authorization failed"


def test_a_topic_that_is_not_there_yet_is_waited_for(rig, events, caplog):
    rig.cluster.refuse_topic("data-bus", KafkaError.UNKNOWN_TOPIC_OR_PART)
    rig.tell(*events.some(5))
    options = {"topic.metadata.propagation.max.ms": 0, "topic.metadata.refresh.fast.interval.ms": 10}
    with rig.running(rig.sink(options=options)):
        wait_until(lambda: rig.value("ci_exporter_sink_success") == 0, "the failure is shown")
        rig.cluster.refuse_topic("data-bus", 0)
        rig.until_delivered()
    assert rig.raised == rig.dead() == []
    assert by_key(rig.messages(5)) == {"0": list(range(5))}
    reasons = [one.error for one in caplog.records if one.levelno == logging.WARNING]
    assert reasons == ["there is no topic data-bus, and the brokers make none: create it"]


def test_the_reason_for_which_events_come_back_is_said_after_a_guess_was(rig, events, caplog):
    rig.cluster.refuse_topic("data-bus", KafkaError.UNKNOWN_TOPIC_OR_PART)
    rig.tell(*events.some(5))
    options = {"topic.metadata.propagation.max.ms": 3_000, "topic.metadata.refresh.fast.interval.ms": 10}
    reasons = lambda: [one.error for one in caplog.records if one.levelno == logging.WARNING]  # noqa: E731
    with rig.running(rig.sink(options=options, request_timeout_seconds=0.5)):
        wait_until(lambda: len(reasons()) == 2, "both are said")
    assert reasons()[0].startswith("no broker acknowledged anything")
    assert reasons()[1].startswith("there is no topic data-bus")


def test_a_login_that_is_refused_keeps_everything(rig, events):
    rig.tell(*events.some(5))
    with rig.running(rig.sink(login="exporter", password="wrong-horse")):
        wait_until(lambda: rig.value("ci_exporter_sink_success") == 0, "the failure is shown")
    assert rig.raised == []
    assert rig.left() == 5


def test_after_a_fatal_error_another_producer_goes_on(rig, events):
    lines: list[Line] = []

    def make(*arguments: Any) -> Line:
        lines.append(Line(*arguments))
        return lines[-1]

    sink = rig.sink()
    sink.make_line = make
    rig.cluster.delay(20)
    rig.tell(*events.some(500, keys=3))
    with rig.running(sink):
        wait_until(lambda: lines, "there is a producer")
        make_fatal(lines[0]._producer, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "the broker forgot us")
        rig.until_delivered()
    assert rig.raised == []
    assert len(lines) == 2
    with rig.cluster.reader("data-bus") as reader:
        assert len(reader.distinct(500)) == 500


def test_a_producer_that_cannot_be_made_is_a_failure_that_the_next_run_gets_over(rig, events):
    made: list[Line] = []

    def make(*arguments: Any) -> Line:
        if made:
            raise SinkError("cannot produce to Kafka: the authorities' file is gone")
        made.append(Line(*arguments))
        return made[-1]

    sink = rig.sink()
    sink.make_line = make
    rig.cluster.refuse(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    rig.tell(*events.some(5))
    with rig.running(sink):
        wait_until(lambda: rig.raised, "the failure is raised")
    assert isinstance(rig.raised.pop(), SinkError)
    rig.deliver()
    assert by_key(rig.messages(5)) == {"0": list(range(5))}


def test_a_full_queue_of_the_producer_delays_and_drops_nothing(rig, events):
    class Small(Line):
        """Refuses every third event once."""

        asked = 0

        def send(self, *arguments: Any) -> KafkaError | None:
            Small.asked += 1
            if Small.asked % 3 == 0:
                raise BufferError("Local: Queue full")
            return super().send(*arguments)

    sink = rig.sink()
    sink.make_line = Small
    rig.tell(*events.some(30))
    rig.deliver(sink)
    assert by_key(rig.messages(30)) == {"0": list(range(30))}
    assert Small.asked > 40


def test_a_dead_broker_ends_neither_the_bound_of_what_is_held_nor_a_stop(rig, events):
    sent: list[int] = []

    class Counting(Line):
        def send(self, flight: Any, message: Any) -> KafkaError | None:
            sent.append(flight.entry.position)
            return super().send(flight, message)

    rig.cluster.stop()
    rig.tell(*events.some(5000, keys=100))
    sink = rig.sink(in_flight_events=150)
    sink.make_line = Counting
    with rig.running(sink):
        wait_until(lambda: rig.report("report_log_buffer_rows") == 5000, "the rows that wait are shown")
        wait_until(lambda: rig.value("ci_exporter_sink_success") == 0, "the failure is shown")
        began = time.monotonic()
    assert time.monotonic() - began < 5  # promised: 1; the rest is for a busy machine
    assert len(sent) == len(set(sent)) <= 150
    assert rig.left() == 5000


def test_the_bytes_that_are_held_are_bounded_too(rig, events):
    held: list[int] = []

    class Weighing(Line):
        def send(self, flight: Any, message: Any) -> KafkaError | None:
            held.append(len(message.value))
            return super().send(flight, message)

    rig.cluster.stop()
    rig.tell(*events.some(400, keys=400, data=b'"%s"' % (b"x" * 10_000)))
    sink = rig.sink(in_flight_bytes=1_000_000)
    sink.make_line = Weighing
    with rig.running(sink):
        wait_until(lambda: sum(held) > 500_000, "as much is held as may be")
        wait_until(lambda: rig.value("ci_exporter_sink_success") == 0, "the failure is shown")
    assert sum(held) < 2_000_000


def test_a_stop_waits_a_moment_for_what_is_on_its_way(rig, events):
    sent = threading.Event()

    class Telling(Line):
        def send(self, *arguments: Any) -> KafkaError | None:
            sent.set()
            return super().send(*arguments)

    rig.tell(events(1))
    sink = rig.sink()
    sink.make_line = Telling
    with rig.running(sink):
        rig.until_delivered()
        rig.cluster.delay(100)
        sent.clear()
        rig.tell(events(2))
        assert sent.wait(30)
    assert rig.left() == 0
    assert len(rig.messages(2)) == 2


# -- several producers ---------------------------------------------------------------------------


class Odd:
    """Claims the events with odd numbers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.closed = threading.Event()

    def claim(self, events: Sequence[Event]) -> list[bool]:
        self.asked += [one.id for one in events]
        return [bool((one.number or int(one.id[5:])) % 2) for one in events]

    def close(self) -> None:
        self.closed.set()


def test_what_another_producer_tells_counts_as_delivered(rig, events):
    claims = Odd()
    rig.tell(*events.some(10))
    sink = rig.sink(claims)
    rig.deliver(sink)
    assert [ce_id(one) for one in rig.messages(5)] == [f"host/{serial}" for serial in range(1, 10, 2)]
    assert (rig.deliveries("duplicate"), rig.deliveries("success")) == (5, 5)
    assert claims.asked == [f"host/{serial}" for serial in range(10)]
    sink.close()
    assert claims.closed.is_set()
