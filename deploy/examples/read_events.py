"""Reads what ci-exporter tells Kafka, and keeps each event once, whatever dies meanwhile.

python read_events.py localhost:9092 ci-events events.db

Needs confluent-kafka. An event is told again with the same source and id after a crash, or by a second producer. The
database remembers both with the event, in one transaction; Kafka is told afterwards how far we got. So what dies in
between is read again, and known. Rows older than the topic's retention can be deleted.
"""

import json
import signal
import sqlite3
import sys
import threading

from confluent_kafka import Consumer, KafkaException

servers, topic, path = sys.argv[1:]
database = sqlite3.connect(path)
database.execute(
    "CREATE TABLE IF NOT EXISTS events (source TEXT, id TEXT, type TEXT, subject TEXT, time TEXT, value BLOB,"
    " PRIMARY KEY (source, id))"
)
consumer = Consumer(
    {
        "bootstrap.servers": servers,
        "group.id": "read-events",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "session.timeout.ms": 10_000,  # how soon one that was killed is missed
    }
)


def attributes(message):
    """The CloudEvent that *message* is, without its data: in headers, or with ``format: structured`` in its value."""
    headers = {name: value.decode() for name, value in message.headers() or ()}
    if headers.get("content-type", "").startswith("application/cloudevents+json"):
        return json.loads(message.value())
    return {name.removeprefix("ce_"): value for name, value in headers.items()}


def keep(message):
    """Store *message* and say so, unless it is known."""
    row = [attributes(message)[name] for name in ("source", "id", "type", "subject", "time")]
    marks = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
    if database.execute(marks, [*row, message.value()]).rowcount:
        print(*row, flush=True)


stopping = threading.Event()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: stopping.set())
consumer.subscribe([topic])
while not stopping.is_set():
    batch = consumer.consume(500, timeout=1)
    with database:
        for message in batch:
            if message.error():  # librdkafka goes on by itself
                print(message.error(), file=sys.stderr)
            else:
                keep(message)
    try:
        if batch:
            consumer.commit(asynchronous=False)
    except KafkaException as error:  # another one reads our partitions now: it meets what is known
        print(error, file=sys.stderr)
consumer.close()
