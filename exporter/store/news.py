"""What of a batch is news: found by a look at the store, before other writers have to wait for us."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.contract import Batch
from exporter.model.events import Event
from exporter.store.observing import unseen
from exporter.store.outbox import WANTED
from exporter.store.tables import units
from exporter.store.told import known_of_unit, numbers_of, read_known, untold

# Made once, since every save begins with it; with what the sinks want, as another process may change that.
UNIT = sa.select(units, WANTED.label("wanted")).where(units.c.id == sa.bindparam("unit_id"))
"""A unit's row."""


@cache
def _glance(dialect: str) -> sa.Select[*tuple[Any, ...]]:
    """The unit's row, with those of some numbers of events that were told: one statement, so one answer."""
    return UNIT.add_columns(known_of_unit(dialect).label("known"))


def find_news(
    connection: Connection,
    unit_id: int,
    batch: Batch,
    streams: Callable[[str | None], Collection[str]],
) -> Batch | None:
    """*batch* without the observations and events that are known; ``None`` if saving it would change nothing.

    *streams* makes of what a row says those that sinks want.

    Raises:
        LookupError: there is no such unit.
    """
    dialect = connection.dialect.name
    asked = {"unit_id": unit_id, "numbers": numbers_of(batch.events, dialect)}
    row = connection.execute(_glance(dialect), asked).one_or_none()
    if row is None:
        raise LookupError(unit_id)
    observations = unseen(connection, row.target_id, unit_id, batch.observations)
    events = untold(of_streams(streams(row.wanted), batch.events), read_known(row.known))
    records = batch.runs or batch.jobs or batch.deleted_runs or batch.refs or batch.unit
    if records or observations or events or batch.given_up or unit_changes(row, batch):
        return replace(batch, observations=tuple(observations.values()), events=tuple(events))
    return None


def of_streams(streams: Collection[str], events: Iterable[Event]) -> list[Event]:
    """Those of *events* that are in one of *streams*."""
    return [event for event in events if event.stream in streams]


def unit_changes(row: sa.Row[Any], batch: Batch) -> dict[str, Any]:
    """What *batch* changes of its unit's stored *row*, apart from the version."""
    wanted: dict[str, Any] = {}
    if batch.cursor is not None:
        wanted["cursor"] = batch.cursor
    if not batch.more:
        wanted["caught_up"] = True
    if batch.unit:
        wanted.update(name=batch.unit.name, default_branch=batch.unit.default_branch)
    return {name: value for name, value in wanted.items() if getattr(row, name) != value}
