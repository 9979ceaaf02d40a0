"""Changes worth telling to other programs, as frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

RUNS = "runs"
"""The stream of changes of runs and jobs, whichever collector saw them."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change, as sinks hand it on.

    Identity: ``id`` within ``source``, the same each time it is told, so that a receiver can tell a
    repetition. ``stream`` is what sinks subscribe to: :data:`RUNS`, or the word of the collector that read
    it. ``type``, ``subject`` and ``time`` are those of CloudEvents. Events of one ``key`` (a project) are
    told in their order. ``data`` is JSON; of a source's own event, exactly what the source sent.

    ``number`` is the source's own number of it, unique within its target; ``None`` has it told from others by
    a hash of ``id``. Once ``remember_until`` has passed, the same event would be taken for a new one: whoever
    reads events must not come with it again then. ``None`` never forgets.
    """

    stream: str
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    key: str
    data: bytes
    number: int | None = None
    remember_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in the outbox; a greater ``position`` was saved later."""

    position: int
    event: Event


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a sink has still to deliver: how many events, and when the oldest of them was saved."""

    events: int
    oldest: datetime | None
