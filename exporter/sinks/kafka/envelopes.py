"""How an event becomes a message of Kafka: CloudEvents 1.0, binary or structured, or a CDEvent inside one.

Source: CloudEvents, Kafka Protocol Binding 1.0.2.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from exporter.model.events import Event
from exporter.sinks.kafka.cdevents import cdevent

_VERSION = ("ce_specversion", b"1.0")
_JSON = ("content-type", b"application/json")
_CDEVENT = ("content-type", b"application/cdevents+json")
Headers = list[tuple[str, str | bytes | None]]
_CLOUDEVENT: Headers = [("content-type", b"application/cloudevents+json; charset=UTF-8")]


class Message(NamedTuple):
    """What Kafka gets of an event."""

    value: bytes
    headers: Headers


Envelope = Callable[[Event], Message]
"""Makes the message of an event, always the same one; ``ValueError`` if there can be none."""


def binary(event: Event) -> Message:
    """The value is the event's data, unchanged; all else is in headers."""
    return Message(event.data, _headers(event, event.type, _JSON))


def structured(event: Event) -> Message:
    """The value is the whole CloudEvent as JSON, with the event's data as it is."""
    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": rfc3339(event.time),
        "datacontenttype": "application/json",
    }
    # Not parsed: what the source sent must come out byte for byte.
    head = json.dumps(attributes, ensure_ascii=False, separators=(",", ":"))[:-1].encode()
    return Message(b'%s,"data":%s}' % (head, event.data), _CLOUDEVENT)


def cdevents(event: Event) -> Message:
    """A run or job as CDEvent, with CloudEvents headers; what CDEvents has no type for, as :func:`binary`."""
    found = cdevent(event, rfc3339(event.time))
    if found is None:
        return binary(event)
    value = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()
    return Message(value, _headers(event, found["context"]["type"], _CDEVENT))


ENVELOPES: dict[str, Envelope] = {"binary": binary, "structured": structured, "cdevents": cdevents}


def key_of(event: Event, kind: str) -> bytes | None:
    """The message's key as ``sinks.kafka.key`` has it; ``None`` for none."""
    if kind == "none":
        return None
    return (event.key if kind == "project" else f"{event.source}/{event.subject}").encode()


def rfc3339(time: datetime) -> str:
    """*time* in UTC, such as ``2026-03-01T12:00:00Z``."""
    return (time if time.tzinfo is UTC else time.astimezone(UTC)).isoformat()[:-6] + "Z"


def _headers(event: Event, type_: str, content: tuple[str, bytes]) -> Headers:
    return [
        _VERSION,
        ("ce_id", event.id.encode()),
        ("ce_source", event.source.encode()),
        ("ce_type", type_.encode()),
        ("ce_subject", event.subject.encode()),
        ("ce_time", rfc3339(event.time).encode()),
        content,
    ]
