"""Which units there are: those of a target as it has them now, with what is known of each from before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.contract import Unit
from exporter.store.base import StoredUnit
from exporter.store.clean import storable, storable_unit
from exporter.store.statements import chunks, upsert
from exporter.store.tables import targets, units

_KEY = 1000  # bytes of a unit's key as it is stored


def register(
    connection: Connection,
    target: str,
    wanted: Sequence[Unit],
    *,
    backfill_days: int,
    now: datetime,
    keep: bool,
) -> list[StoredUnit]:
    """Make *wanted* the active units of *target*, as :meth:`exporter.store.base.Store.register` says."""
    by_key = {storable(unit.key, _KEY): unit for unit in wanted}
    target_id, first_seen_at = _target(connection, storable(target), now)
    mine = units.c.target_id == target_id
    stored = {row.key: row for row in connection.execute(sa.select(units).where(mine))}
    gone = [row.id for key, row in stored.items() if key not in by_key and row.active and not keep]
    for chunk in chunks(gone):
        connection.execute(sa.update(units).where(units.c.id.in_(chunk)).values(active=False))
    new = []
    for key, unit in by_key.items():
        if key in stored:
            _update_unit(connection, stored[key], unit)
        else:
            new.append(_new_unit(target_id, unit, first_seen_at, backfill_days, now))
    if new:
        connection.execute(sa.insert(units), new)
    rows = connection.execute(sa.select(units).where(mine, units.c.active))
    found = [stored_unit(row, by_key.get(row.key)) for row in rows]
    order = {key: place for place, key in enumerate(by_key)}
    return sorted(found, key=lambda one: (order.get(storable(one.unit.key, _KEY), len(order)), one.id))


def stored_unit(row: sa.Row[Any], unit: Unit | None = None) -> StoredUnit:
    """What the stored *row* says; of the unit itself, what *unit* says if it is given."""
    unit = unit or Unit(row.key, row.name, default_branch=row.default_branch)
    return StoredUnit(row.id, unit, row.cursor, row.counts_from, row.caught_up)


def _target(connection: Connection, name: str, now: datetime) -> tuple[int, datetime]:
    """Id and first sight of the target, which is entered if new and locked for this transaction."""
    # Without the key: saving a unit looks whether its target exists, and must not wait for us while
    # we wait for the unit.
    find = sa.select(targets).where(targets.c.name == name).with_for_update(key_share=True)
    row = connection.execute(find).one_or_none()
    if row is None:
        # Another process may enter it at the same moment.
        connection.execute(
            upsert(connection, targets).values(name=name, first_seen_at=now).on_conflict_do_nothing()
        )
        row = connection.execute(find).one()
    return row.id, row.first_seen_at


def _new_unit(
    target_id: int, unit: Unit, first_seen_at: datetime, backfill_days: int, now: datetime
) -> dict[str, Any]:
    """The row of a unit that was never seen before."""
    clean = storable_unit(unit)
    counts_from = now - timedelta(days=backfill_days)
    if unit.created_at and unit.created_at >= first_seen_at:
        counts_from = min(counts_from, unit.created_at)
    return dict(
        target_id=target_id,
        key=clean.key,
        name=clean.name,
        default_branch=clean.default_branch,
        counts_from=counts_from,
        cursor=None,
        caught_up=False,
        active=True,
        version=0,
    )


def _update_unit(connection: Connection, row: sa.Row[Any], unit: Unit) -> None:
    """Make the stored *row* active, with the facts of *unit*; writes only what differs."""
    clean = storable_unit(unit)
    if (row.name, row.default_branch, row.active) == (clean.name, clean.default_branch, True):
        return
    connection.execute(
        sa.update(units)
        .where(units.c.id == row.id)
        .values(
            name=clean.name,
            default_branch=clean.default_branch,
            active=True,
            version=units.c.version + 1,
        )
    )
