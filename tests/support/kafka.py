"""A Kafka cluster in memory: librdkafka's mock cluster, with its ways to fail, and a consumer of it."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_int16, c_int32, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka import Consumer, Producer, TopicPartition

PATIENCE = 60.0
_PRODUCE = 0
_HANDLE_AT = object.__basicsize__  # of a client of confluent_kafka: its rd_kafka_t *, first in its struct
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "rd_kafka_handle_mock_cluster": (c_void_p, [c_void_p]),
    "rd_kafka_mock_push_request_errors_array": (None, [c_void_p, c_int16, c_size_t, POINTER(c_int)]),
    "rd_kafka_mock_clear_request_errors": (None, [c_void_p, c_int16]),
    "rd_kafka_mock_broker_set_down": (c_int, [c_void_p, c_int32]),
    "rd_kafka_mock_broker_set_up": (c_int, [c_void_p, c_int32]),
    "rd_kafka_mock_broker_set_rtt": (c_int, [c_void_p, c_int32, c_int]),
    "rd_kafka_mock_topic_create": (c_int, [c_void_p, c_char_p, c_int, c_int]),
    "rd_kafka_mock_topic_set_error": (None, [c_void_p, c_char_p, c_int]),
    "rd_kafka_test_fatal_error": (c_int, [c_void_p, c_int, c_char_p]),
}


def _library() -> ctypes.CDLL:
    """The librdkafka that confluent_kafka has loaded."""
    folder = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
    library = ctypes.CDLL(str(next(folder.glob("librdkafka-*"))))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def handle(client: Any) -> int:
    """The ``rd_kafka_t *`` in *client*."""
    value = c_void_p.from_address(id(client) + _HANDLE_AT).value
    assert value is not None
    return value


def make_fatal(client: Any, code: int, reason: str) -> None:
    """Have *client* end with a fatal error, as if a broker had said so."""
    _library().rd_kafka_test_fatal_error(handle(client), code, reason.encode())


class Cluster:
    """Brokers on loopback ports, in this process; they live as long as this object."""

    def __init__(self, brokers: int = 1, **options: Any) -> None:
        quiet = {"log_level": 0, "bootstrap.servers": "unused"}
        self._host = Producer({"test.mock.num.brokers": brokers, **quiet, **options})
        self._library = _library()
        self._cluster = self._library.rd_kafka_handle_mock_cluster(handle(self._host))
        found = self._host.list_topics(timeout=PATIENCE).brokers
        self.ids = sorted(found)
        self.servers = ",".join(f"{found[one].host}:{found[one].port}" for one in self.ids)

    def topic(self, name: str, partitions: int = 4) -> None:
        """Make a topic; it would be made with 4 partitions when it is first used."""
        assert self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1) == 0

    def refuse_topic(self, name: str, code: int) -> None:
        """Have the metadata of a topic say *code*; 0 for none."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, name.encode(), code)

    def refuse(self, *codes: int) -> None:
        """Answer the next requests to produce with *codes*, one each; 0 takes one."""
        array = (c_int * len(codes))(*codes)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, _PRODUCE, len(codes), array)

    def take_again(self) -> None:
        """Refuse no more."""
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, _PRODUCE)

    def delay(self, milliseconds: int) -> None:
        """Let each answer take that long."""
        for one in self.ids:
            self._library.rd_kafka_mock_broker_set_rtt(self._cluster, one, milliseconds)

    def stop(self) -> None:
        """Close all brokers' ports; what they have stays."""
        for one in self.ids:
            self._library.rd_kafka_mock_broker_set_down(self._cluster, one)

    def start(self) -> None:
        """Open them again."""
        for one in self.ids:
            self._library.rd_kafka_mock_broker_set_up(self._cluster, one)

    @contextmanager
    def reader(self, topic: str) -> Iterator[Reader]:
        """A consumer of all of *topic*, from its beginning."""
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "test", "log_level": 0})
        try:
            partitions = consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
            consumer.assign([TopicPartition(topic, one, 0) for one in partitions])
            yield Reader(consumer)
        finally:
            consumer.close()


class Reader:
    """What a consumer has got so far: each message as it came."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.messages: list[Any] = []

    def until(self, enough: Callable[[list[Any]], object]) -> list[Any]:
        """Read on until *enough* of the messages is true."""
        end = time.monotonic() + PATIENCE
        while not enough(self.messages):
            assert time.monotonic() < end, f"only {len(self.messages)} messages came"
            self.messages += self._consumer.consume(1000, 0.1)
        return self.messages

    def distinct(self, count: int) -> list[Any]:
        """Read on until *count* different events came; returns the first message of each, in their order."""
        self.until(lambda messages: len({ce_id(one) for one in messages}) >= count)
        first: dict[str, Any] = {}
        for one in self.messages:
            first.setdefault(ce_id(one), one)
        return list(first.values())


def headers_of(message: Any) -> dict[str, str]:
    """The headers of *message* as text."""
    return {name: value.decode() for name, value in message.headers()}


def ce_id(message: Any) -> str:
    """What tells the event of *message* from all others of its source."""
    return headers_of(message)["ce_id"]
