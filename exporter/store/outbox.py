"""The outbox: events saved with what they tell of, until every sink that wants them has delivered them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.model.events import Backlog, Entry, Event
from exporter.store.clean import storable
from exporter.store.statements import chunks, upsert
from exporter.store.tables import dead_letters, outbox, sinks, told

_ORDER_LOCK = 4_120_714  # any fixed number: PostgreSQL advisory lock of those who put events into the outbox
_SWEEP_ROWS = 5_000
_FORGET_ROWS = 20_000
_Connecting = Callable[[], AbstractContextManager[Connection]]
_EVENT = (
    outbox.c.stream,
    outbox.c.event_id,
    outbox.c.source,
    outbox.c.type,
    outbox.c.subject,
    outbox.c.time,
    outbox.c.key,
    outbox.c.data,
)


class Outbox:
    """Events between the store and the sinks; every sink has a position of its own in it.

    Nothing is put in for which no sink has subscribed. Any thread may call.
    """

    def __init__(self, read: _Connecting, write: _Connecting) -> None:
        self._read = read
        self._write = write
        self._bells: set[threading.Event] = set()
        with read() as connection:
            self.streams = _subscribed(connection)

    # -- putting in, by the store --------------------------------------------------------------

    def add(self, connection: Connection, events: Sequence[Event], now: datetime) -> None:
        """Put *events* in, with the transaction of *connection*; the last that it does before it commits."""
        wanted = [_event_row(event) | {"saved_at": now} for event in events if event.stream in self.streams]
        if not wanted:
            return
        if connection.dialect.name == "postgresql":
            # Positions are drawn before they can be seen: without taking turns until the commit, a sink could
            # pass by one that is seen later than a greater one.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ORDER_LOCK})")
        connection.execute(sa.insert(outbox), wanted)

    def untold(self, connection: Connection, target_id: int, events: Iterable[Event]) -> list[Event]:
        """Those of *events* that were not told before, each once; only a look, :meth:`claim` decides."""
        fresh = {number_of(event): event for event in events if event.stream in self.streams}
        for chunk in chunks(sorted(fresh)):
            rows = connection.execute(
                sa.select(told.c.number).where(told.c.target_id == target_id, told.c.number.in_(chunk))
            )
            for (number,) in rows:
                del fresh[number]
        return list(fresh.values())

    def claim(self, connection: Connection, target_id: int, events: Sequence[Event]) -> list[Event]:
        """Those of *events* that nobody told before, in their order; from now on all of them are told."""
        fresh = {number_of(event): event for event in events}
        claimed: set[int] = set()
        # In one order for all: two writers who know the same events must not wait for each other.
        for chunk in chunks(sorted(fresh)):
            rows = [
                {"target_id": target_id, "number": number, "forget_at": fresh[number].remember_until}
                for number in chunk
            ]
            inserted = connection.execute(
                upsert(connection, told).values(rows).on_conflict_do_nothing().returning(told.c.number)
            )
            claimed.update(number for (number,) in inserted)
        return [event for number, event in fresh.items() if number in claimed]

    def ring(self) -> None:
        """Wake the sinks: there is something new."""
        for bell in tuple(self._bells):
            bell.set()

    # -- taking out, by the sinks --------------------------------------------------------------

    @contextmanager
    def bell(self) -> Iterator[threading.Event]:
        """Something that is set whenever this process puts events in; others' are seen by looking."""
        bell = threading.Event()
        self._bells |= {bell}
        try:
            yield bell
        finally:
            self._bells -= {bell}

    def subscribe(self, name: str, streams: Collection[str]) -> int:
        """Have everything that is saved from now on in *streams* kept for sink *name*; returns its position.

        A sink that is known goes on where it was, also in a stream that it did not have before.
        """
        text = " ".join(sorted(streams))
        with self._write() as connection:
            position = connection.execute(
                sa.select(sinks.c.position).where(sinks.c.name == name)
            ).scalar_one_or_none()
            if position is None:
                position = _last(connection)
                values = {"name": name, "streams": text, "position": position}
                connection.execute(upsert(connection, sinks).values(values).on_conflict_do_nothing())
            connection.execute(sa.update(sinks).where(sinks.c.name == name).values(streams=text))
            subscribed = _subscribed(connection)
        self.streams = subscribed
        return int(position)

    def unsubscribe_others(self, names: Collection[str]) -> dict[str, int]:
        """Forget all sinks but *names*; returns how many events each of them had still to deliver."""
        with self._write() as connection:
            gone = (
                connection.execute(sa.select(sinks.c.name).where(sinks.c.name.not_in(names))).scalars().all()
            )
            left = {name: _backlog(connection, name).events for name in gone}
            if gone:
                connection.execute(sa.delete(sinks).where(sinks.c.name.in_(gone)))
            subscribed = _subscribed(connection)
        self.streams = subscribed
        return left

    def position(self, name: str) -> int:
        """Up to where sink *name* has delivered."""
        with self._read() as connection:
            return _position(connection, name)

    def read(self, name: str, after: int, limit: int) -> list[Entry]:
        """The first *limit* events after position *after* in the streams of sink *name*, in their order."""
        with self._read() as connection:
            streams = _streams(connection, name)
            rows = connection.execute(
                sa.select(outbox.c.position, *_EVENT)
                .where(outbox.c.position > after, outbox.c.stream.in_(streams))
                .order_by(outbox.c.position)
                .limit(limit)
            )
            return [Entry(position, Event(*event)) for position, *event in rows]

    def advance(self, name: str, position: int) -> None:
        """Everything up to *position* is delivered by sink *name*; never goes back."""
        with self._write() as connection:
            connection.execute(advanced(name, position))

    def bury(self, name: str, entry: Entry, reason: str, now: datetime) -> None:
        """Keep *entry* apart, with the *reason* why sink *name* can never deliver it."""
        row = {"sink": name, "position": entry.position, "buried_at": now, "reason": storable(reason, 1000)}
        with self._write() as connection:
            statement = upsert(connection, dead_letters).values(row | _event_row(entry.event))
            connection.execute(statement.on_conflict_do_nothing())

    def buried(self, name: str) -> int:
        """How many events sink *name* could never deliver."""
        with self._read() as connection:
            find = sa.select(sa.func.count()).select_from(dead_letters).where(dead_letters.c.sink == name)
            return int(connection.execute(find).scalar_one())

    def backlog(self, name: str) -> Backlog:
        """What sink *name* has still to deliver."""
        with self._read() as connection:
            return _backlog(connection, name)

    # -- keeping it small ----------------------------------------------------------------------

    def sweep(self) -> int:
        """Delete what every sink has delivered; returns how many events."""
        swept = 0
        while True:
            with self._write() as connection:
                done = connection.execute(sa.select(sa.func.min(sinks.c.position))).scalar_one_or_none()
                rows = sa.select(outbox.c.position).order_by(outbox.c.position).limit(_SWEEP_ROWS)
                if done is not None:  # without any sink, nobody waits for what is left
                    rows = rows.where(outbox.c.position <= done)
                positions = connection.execute(rows).scalars().all()
                if positions:
                    connection.execute(sa.delete(outbox).where(outbox.c.position <= positions[-1]))
            swept += len(positions)
            if len(positions) < _SWEEP_ROWS:
                return swept

    def forget(self, now: datetime) -> int:
        """Forget the events whose time to be remembered is over; returns how many."""
        forgotten, after = 0, (-1, 0)
        while True:
            with self._write() as connection:
                rows = connection.execute(
                    sa.select(told.c.target_id, told.c.number, told.c.forget_at)
                    .where(sa.tuple_(told.c.target_id, told.c.number) > sa.tuple_(*after))
                    .order_by(told.c.target_id, told.c.number)
                    .limit(_FORGET_ROWS)
                ).all()
                over = [row[:2] for row in rows if row.forget_at is not None and row.forget_at <= now]
                for chunk in chunks(over):
                    key = sa.tuple_(told.c.target_id, told.c.number)
                    connection.execute(sa.delete(told).where(key.in_([tuple(pair) for pair in chunk])))
            forgotten += len(over)
            if len(rows) < _FORGET_ROWS:
                return forgotten
            after = (rows[-1].target_id, rows[-1].number)


def number_of(event: Event) -> int:
    """What tells *event* from all others of its target: its own number, or a hash, which is negative."""
    if event.number is not None and 0 <= event.number < 2**63:
        return event.number
    text = f"{event.stream}\0{event.id}".encode("utf-8", "surrogatepass")
    return -1 - (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1)


def advanced(name: str, position: int) -> sa.Update:
    """The statement that moves sink *name* forward to *position*, for a transaction that does more."""
    mine = (sinks.c.name == name, sinks.c.position < position)
    return sa.update(sinks).where(*mine).values(position=position)


def _event_row(event: Event) -> dict[str, Any]:
    return {
        "stream": event.stream,
        "event_id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": event.time,
        "key": event.key,
        "data": event.data,
    }


def _subscribed(connection: Connection) -> frozenset[str]:
    """Every stream that some sink wants."""
    rows = connection.execute(sa.select(sinks.c.streams)).scalars()
    return frozenset(stream for text in rows for stream in text.split())


def _streams(connection: Connection, name: str) -> list[str]:
    find = sa.select(sinks.c.streams).where(sinks.c.name == name)
    return str(connection.execute(find).scalar_one_or_none() or "").split()


def _position(connection: Connection, name: str) -> int:
    find = sa.select(sinks.c.position).where(sinks.c.name == name)
    return int(connection.execute(find).scalar_one_or_none() or 0)


def _last(connection: Connection) -> int:
    """The greatest position that was ever given; what is saved later has a greater one."""
    newest = connection.execute(sa.select(sa.func.max(outbox.c.position))).scalar_one_or_none() or 0
    passed = connection.execute(sa.select(sa.func.max(sinks.c.position))).scalar_one_or_none() or 0
    return int(max(newest, passed))


def _backlog(connection: Connection, name: str) -> Backlog:
    mine = (outbox.c.position > _position(connection, name), outbox.c.stream.in_(_streams(connection, name)))
    events = connection.execute(sa.select(sa.func.count()).select_from(outbox).where(*mine)).scalar_one()
    oldest = sa.select(outbox.c.saved_at).where(*mine).order_by(outbox.c.position).limit(1)
    return Backlog(int(events), connection.execute(oldest).scalar_one_or_none())
