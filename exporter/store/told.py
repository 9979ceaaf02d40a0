"""The memory of events of sources: which were told or counted already, so that each is so once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Connection

from exporter.clock import EPOCH
from exporter.model.events import Event
from exporter.store.statements import chunks
from exporter.store.tables import told, units

_CLAIMED = 5_000  # events in one statement
_PART = 10_000  # rows that are looked at, and perhaps deleted, in one transaction
_key = sa.tuple_(told.c.target_id, told.c.number)
_HOUR = timedelta(hours=1)
_Connecting = Callable[[], AbstractContextManager[Connection]]

# All numbers go over as one value: a parameter for each would cost more than what is done with it.
_KNOWN: Mapping[str, sa.TextClause] = {
    "sqlite": sa.text(
        "SELECT number FROM told"
        " WHERE target_id = :target_id AND number IN (SELECT value FROM json_each(:numbers))"
    ),
    "postgresql": sa.text(
        "SELECT number FROM told WHERE target_id = :target_id AND number = ANY(CAST(:numbers AS bigint[]))"
    ),
}
_CLAIM: Mapping[str, sa.TextClause] = {
    # Without the WHERE, SQLite would take the ON for a join's.
    "sqlite": sa.text(
        "INSERT INTO told (target_id, number, forget_hour)"
        " SELECT :target_id, json_extract(value, '$[0]'), json_extract(value, '$[1]')"
        " FROM json_each(:claimed) WHERE true ON CONFLICT DO NOTHING RETURNING number"
    ),
    "postgresql": sa.text(
        "INSERT INTO told (target_id, number, forget_hour) SELECT :target_id, number, hour"
        " FROM unnest(CAST(:numbers AS bigint[]), CAST(:hours AS integer[])) AS claimed (number, hour)"
        " ON CONFLICT DO NOTHING RETURNING number"
    ),
}


def known_of_unit(dialect: str) -> sa.ScalarSelect[Any]:
    """What of ``:numbers`` was told of the target of a row of `units`; for :func:`read_known`."""
    numbers: sa.BindParameter[Any] = sa.bindparam("numbers")
    if dialect == "postgresql":
        asked = told.c.number == sa.func.any(sa.cast(numbers, ARRAY(sa.BigInteger)))
        mine = sa.select(told.c.number).where(told.c.target_id == units.c.target_id, asked)
        return sa.select(sa.func.array(mine.correlate(units).scalar_subquery())).scalar_subquery()
    asked = told.c.number.in_(sa.select(sa.func.json_each(numbers).table_valued("value").c.value))
    mine = sa.select(sa.func.json_group_array(told.c.number))
    return mine.where(told.c.target_id == units.c.target_id, asked).correlate(units).scalar_subquery()


def numbers_of(events: Iterable[Event], dialect: str) -> list[int] | str:
    """What tells *events*, as ``:numbers``."""
    numbers = list({number_of(event) for event in events})
    return numbers if dialect == "postgresql" else json.dumps(numbers)


def read_known(found: list[int] | str) -> set[int]:
    """What :func:`known_of_unit` found."""
    return set(json.loads(found) if isinstance(found, str) else found)


def untold(events: Iterable[Event], known: Collection[int]) -> list[Event]:
    """Those of *events* that are not *known* to be told, each once; only a look, :func:`claim` decides."""
    fresh = {number_of(event): event for event in events}
    return [event for number, event in fresh.items() if number not in known]


def claim(connection: Connection, target_id: int, events: Iterable[Event]) -> list[Event]:
    """Those of *events* that nobody told before, in their order; from now on all of them are told."""
    fresh = {number_of(event): event for event in events}
    untils = {number: event.remember_until for number, event in fresh.items()}
    claimed = claim_numbers(connection, target_id, untils)
    return [event for number, event in fresh.items() if number in claimed]


def known_numbers(connection: Connection, target_id: int, numbers: Collection[int]) -> set[int]:
    """Those of *numbers* that are remembered."""
    if not numbers:
        return set()
    postgresql = connection.dialect.name == "postgresql"
    given = list(numbers) if postgresql else json.dumps(list(numbers))
    find = _KNOWN[connection.dialect.name]
    return set(connection.execute(find, {"target_id": target_id, "numbers": given}).scalars())


def claim_numbers(connection: Connection, target_id: int, untils: Mapping[int, datetime | None]) -> set[int]:
    """Those of the numbers in *untils* that were not remembered; from now on all are, each until then."""
    claimed: set[int] = set()
    # In one order for all: two writers who know the same events must not wait for each other.
    for chunk in chunks(sorted(untils), _CLAIMED):
        hours = [_forget_hour(untils[number]) for number in chunk]
        values: dict[str, Any]
        if connection.dialect.name == "postgresql":
            values = {"numbers": chunk, "hours": hours}
        else:
            values = {"claimed": json.dumps(list(zip(chunk, hours, strict=True)))}
        statement = _CLAIM[connection.dialect.name]
        claimed.update(connection.execute(statement, {"target_id": target_id, **values}).scalars())
    return claimed


def forget(read: _Connecting, write: _Connecting, now: datetime) -> int:
    """Forget the events whose time to be remembered is over; returns how many.

    Writers wait for a part of the deletion only, and not at all for a part in which nothing is over.
    """
    # Not whether there is one: for that, PostgreSQL may go through the whole table.
    counted = sa.select(sa.func.count()).select_from(told)
    forgotten, after, over = 0, (-1, 0), told.c.forget_hour <= (now - EPOCH) // _HOUR
    while True:
        rest = _key > sa.tuple_(*after)
        last = (
            sa.select(told.c.target_id, told.c.number).where(rest).order_by(told.c.target_id, told.c.number)
        )
        with read() as connection:
            upto = connection.execute(last.offset(_PART - 1).limit(1)).one_or_none()
            part = (rest, over) if upto is None else (rest, _key <= sa.tuple_(*upto), over)
            found = connection.execute(counted.where(*part)).scalar_one()
        if found:
            with write() as connection:
                forgotten += connection.execute(sa.delete(told).where(*part)).rowcount
        if upto is None:
            return forgotten
        after = (upto.target_id, upto.number)


def number_of(event: Event) -> int:
    """What tells *event* from all others of its target: its own number, or a hash, which is negative."""
    if event.number is not None and 0 <= event.number < 2**63:
        return event.number
    return hashed(f"{event.stream}\0{event.id}".encode("utf-8", "surrogatepass"))


def hashed(text: bytes) -> int:
    """A number below zero that tells *text* from any other."""
    return -1 - (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1)


def _forget_hour(until: datetime | None) -> int | None:
    """The hour since 1970 in which what is to be remembered *until* then may be forgotten: none before."""
    return None if until is None else -((EPOCH - until) // _HOUR)
