"""The outbox: events saved with what they tell of, until every sink that wants them has delivered them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import accumulate, takewhile
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.model.events import Backlog, Entry, Event
from exporter.store.bells import Bells
from exporter.store.clean import storable
from exporter.store.statements import upsert
from exporter.store.tables import dead_letters, outbox, sinks
from exporter.store.told import claim, forget

_ORDER_LOCK = 4_120_715  # a number that no other lock has: PostgreSQL advisory lock of who puts events in
_SWEEP_ROWS = 5_000
_COUNTED = 10_000  # of what a sink has still to deliver
READ_BYTES = 32 * 1024 * 1024
"""Of events that are read at once, if nobody says how many: far more than changes of runs ever are."""
WANTED = sa.select(sa.func.aggregate_strings(sinks.c.streams, " ")).scalar_subquery()
"""What all sinks want, for :meth:`Outbox.wanted`."""
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
_PUT_IN = (outbox.c.saved_at, *_EVENT)
_COPY = f"COPY outbox ({', '.join(column.name for column in _PUT_IN)}) FROM STDIN"


class Outbox(Bells):
    """Events between the store and the sinks; every sink has a position of its own in it.

    Nothing is to be put in for which no sink has subscribed. Any thread may call.
    """

    def __init__(self, read: _Connecting, write: _Connecting) -> None:
        super().__init__()
        self._read = read
        self._write = write
        with read() as connection:
            self.streams = _subscribed(connection)

    # -- putting in, by the store --------------------------------------------------------------

    def wanted(self, text: str | None) -> frozenset[str]:
        """The streams in *text*, which :data:`WANTED` found: another process may have subscribed a sink."""
        self.streams = frozenset((text or "").split())
        return self.streams

    def claim(self, connection: Connection, target_id: int, events: Iterable[Event]) -> list[Event]:
        """Those of *events* that nobody told before, in their order; from now on all of them are told."""
        return claim(connection, target_id, events)

    def add(self, connection: Connection, events: Sequence[Event], now: datetime) -> None:
        """Put *events* in, with the transaction of *connection*; the last that it does before it commits."""
        if not events:
            return
        rows = [{"saved_at": now} | _event_row(event) for event in events]
        if connection.dialect.name == "postgresql":
            # Positions are drawn before they can be seen: without taking turns until the commit, a sink could
            # pass by one that is seen later than a greater one.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ORDER_LOCK})")
            _copy(connection, rows)
        else:
            connection.execute(sa.insert(outbox), rows)

    # -- taking out, by the sinks --------------------------------------------------------------

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

    def read(self, name: str, after: int, limit: int, size: int = READ_BYTES) -> list[Entry]:
        """The first events after position *after* in the streams of sink *name*, in their order.

        At most *limit*, and one or at most *size* bytes of data.
        """
        entries: list[Entry] = []
        with self._read() as connection:
            waiting = (outbox.c.position > after, outbox.c.stream.in_(_streams(connection, name)))
            if connection.dialect.name == "postgresql":  # it sends all that it is asked for, at once
                limit = _fitting(connection, waiting, limit, size)
            find = sa.select(outbox.c.position, *_EVENT).where(*waiting).order_by(outbox.c.position)
            for position, *event in connection.execute(find.limit(limit)):
                entries.append(Entry(position, Event(*event)))
                size -= len(entries[-1].event.data)
                if size < 0:
                    break
        return entries[:-1] if size < 0 and len(entries) > 1 else entries

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

    def forget_buried(self, before: datetime) -> int:
        """Delete what was buried before *before*, in parts; returns how many events."""
        deleted = 0
        for name in self._with_buried():
            mine = (dead_letters.c.sink == name, dead_letters.c.buried_at < before)
            part = sa.select(dead_letters.c.position).where(*mine).order_by(dead_letters.c.position)
            last = sa.select(sa.func.max(part.limit(_SWEEP_ROWS).subquery().c.position)).scalar_subquery()
            while True:
                with self._write() as connection:
                    gone = connection.execute(
                        sa.delete(dead_letters).where(*mine, dead_letters.c.position <= last)
                    ).rowcount
                deleted += gone
                if gone < _SWEEP_ROWS:
                    break
        return deleted

    def _with_buried(self) -> Sequence[str]:
        """The sinks, of now and of before, that have dead letters."""
        with self._read() as connection:
            return connection.execute(sa.select(dead_letters.c.sink).distinct()).scalars().all()

    def backlog(self, name: str) -> Backlog:
        """What sink *name* has still to deliver; over 10,000 events, their number is an estimate."""
        with self._read() as connection:
            return _backlog(connection, name)

    # -- keeping it small ----------------------------------------------------------------------

    def sweep(self) -> int:
        """Delete what every sink has delivered; returns how many events."""
        with self._read() as connection:
            waiting = {name: _before_next(connection, name) for name in _names(connection)}
            last = _last(connection)
        for name, (position, passed) in waiting.items():
            if passed > position:  # else events of others would wait for a sink that does not want them
                self.advance(name, passed)
        # Without any sink, nobody waits for what is left.
        return self._delete(min((passed for _, passed in waiting.values()), default=last))

    def _delete(self, done: int) -> int:
        """Delete all up to position *done*, in parts so that other writers need not wait."""
        swept = 0
        rows = sa.select(outbox.c.position).where(outbox.c.position <= done)
        part = rows.order_by(outbox.c.position).limit(_SWEEP_ROWS).subquery()
        while True:
            with self._read() as connection:
                upto = connection.execute(sa.select(sa.func.max(part.c.position))).scalar_one()
            if upto is None:
                return swept
            with self._write() as connection:
                swept += connection.execute(sa.delete(outbox).where(outbox.c.position <= upto)).rowcount

    def forget(self, now: datetime) -> int:
        """Forget the events whose time to be remembered is over; returns how many."""
        return forget(self._read, self._write, now)


def _fitting(connection: Connection, waiting: Sequence[sa.ColumnElement[bool]], limit: int, size: int) -> int:
    """How many of the first *limit* events *waiting* are at most *size* bytes, or 1; *limit*, if all are."""
    length = sa.func.length(outbox.c.data).label("length")
    lengths = sa.select(length).where(*waiting).order_by(outbox.c.position).limit(limit)
    total = sa.select(sa.func.sum(lengths.subquery().c.length))
    if (connection.execute(total).scalar_one() or 0) <= size:
        return limit
    sizes = accumulate(connection.execute(lengths).scalars())
    return max(1, sum(1 for _ in takewhile(lambda so_far: so_far <= size, sizes)))


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


def _copy(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert *rows* into PostgreSQL's table: a statement for each would cost several times as much."""
    processors = [column.type.bind_processor(connection.dialect) for column in _PUT_IN]
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
        for row in rows:
            copy.write_row([p(v) if p else v for p, v in zip(processors, row.values(), strict=True)])


def _subscribed(connection: Connection) -> frozenset[str]:
    """Every stream that some sink wants."""
    return frozenset((connection.execute(sa.select(WANTED)).scalar_one() or "").split())


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


def _names(connection: Connection) -> Sequence[str]:
    return connection.execute(sa.select(sinks.c.name)).scalars().all()


def _mine(connection: Connection, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    """What is true of the events that sink *name* has still to deliver."""
    return outbox.c.position > _position(connection, name), outbox.c.stream.in_(_streams(connection, name))


def _before_next(connection: Connection, name: str) -> tuple[int, int]:
    """The position of sink *name*, and the one right before the next event that it wants."""
    following = sa.select(sa.func.min(outbox.c.position)).where(*_mine(connection, name))
    position, upcoming = _position(connection, name), connection.execute(following).scalar_one()
    return position, _last(connection) if upcoming is None else upcoming - 1


def _backlog(connection: Connection, name: str) -> Backlog:
    mine = _mine(connection, name)
    oldest = sa.select(outbox.c.saved_at).where(*mine).order_by(outbox.c.position).limit(1)
    first = sa.select(outbox.c.position).where(*mine).order_by(outbox.c.position).limit(_COUNTED).subquery()
    events, begin, end = connection.execute(
        sa.select(sa.func.count(), sa.func.min(first.c.position), sa.func.max(first.c.position))
    ).one()
    if events == _COUNTED:  # as many for each position as among those that were counted
        events = round(_COUNTED * (_last(connection) - begin + 1) / (end - begin + 1))
    return Backlog(events, connection.execute(oldest).scalar_one_or_none())
