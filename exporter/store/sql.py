"""The store on SQLite or PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.contract import Batch, Unit
from exporter.errors import StoreError
from exporter.model.runs import FINISHED, PipelineRun
from exporter.model.views import UnitView
from exporter.store.base import Saved, StoredUnit
from exporter.store.connect import describe, open_engine, store_errors
from exporter.store.lease import AdvisoryLease, FileLease, Lease, NoLease
from exporter.store.reading import read_views
from exporter.store.rows import run_record
from exporter.store.saving import Saver, chunks, next_version
from exporter.store.tables import jobs, latest, runs, targets, unfinished, units

_PRUNE_ROWS = 2_000  # runs deleted in one transaction, so that rounds wait milliseconds for it


class SqlStore:
    """Implements :class:`exporter.store.base.Store` over SQLAlchemy Core.

    SQLite has one writer: a lock lets the threads of this process take turns instead of making the
    database wait and retry. On PostgreSQL, writers of different units go side by side.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._sqlite = self._engine.dialect.name == "sqlite"
        self._turn = threading.RLock() if self._sqlite else nullcontext()

    @property
    def name(self) -> str:
        """The file, or host and database; never a password."""
        return describe(self._engine.url)

    def register(
        self, target: str, units_: Sequence[Unit], *, backfill_days: int, now: datetime
    ) -> list[StoredUnit]:
        """Make *units_* the active ones of *target*, in their order; those left out become inactive.

        A unit seen for the first time counts runs from *backfill_days* ago. One that was created after
        the target was first seen has no history that anyone could mistake for a burst: all of it counts.
        """
        with self._write() as connection:
            target_id, first_seen_at = self._target(connection, target, now)
            stored = {
                row.key: row
                for row in connection.execute(sa.select(units).where(units.c.target_id == target_id))
            }
            wanted = {unit.key: unit for unit in units_}
            gone = [row.id for key, row in stored.items() if key not in wanted and row.active]
            for chunk in chunks(gone):
                connection.execute(sa.update(units).where(units.c.id.in_(chunk)).values(active=False))
            new = [unit for unit in wanted.values() if unit.key not in stored]
            if new:
                connection.execute(
                    sa.insert(units),
                    [_new_unit(target_id, unit, first_seen_at, backfill_days, now) for unit in new],
                )
            for unit in wanted.values():
                row = stored.get(unit.key)
                if row and (row.name, row.default_branch, row.active) != (
                    unit.name,
                    unit.default_branch,
                    True,
                ):
                    connection.execute(
                        sa.update(units)
                        .where(units.c.id == row.id)
                        .values(
                            name=unit.name,
                            default_branch=unit.default_branch,
                            active=True,
                            version=units.c.version + 1,
                        )
                    )
            rows = connection.execute(sa.select(units).where(units.c.target_id == target_id, units.c.active))
            by_key = {row.key: _stored_unit(row, wanted[row.key]) for row in rows}
        return [by_key[key] for key in wanted]

    def save(self, unit_id: int, batch: Batch, now: datetime) -> Saved:
        """Save all of *batch*, its counts and its cursor, or nothing."""
        if self._says_nothing(unit_id, batch):
            return Saved(0, 0, 0)
        with self._write() as connection:
            row = self._locked(connection, unit_id)
            saved = Saver(connection, unit_id, row.counts_from).save(batch)
            changes: dict[str, Any] = {}
            if batch.cursor is not None and batch.cursor != row.cursor:
                changes["cursor"] = batch.cursor
            if not row.caught_up and not batch.more:
                changes["caught_up"] = True
            if batch.unit:
                changes.update(name=batch.unit.name, default_branch=batch.unit.default_branch)
            if changes:
                connection.execute(sa.update(units).where(units.c.id == unit_id).values(**changes))
            if saved.changed or changes.keys() - {"cursor"}:
                connection.execute(next_version(unit_id))
        return saved

    def _says_nothing(self, unit_id: int, batch: Batch) -> bool:
        """Whether saving *batch* would change nothing, as most polls of idle projects do."""
        if batch.runs or batch.jobs or batch.deleted_runs or batch.refs or batch.unit:
            return False
        with self._read() as connection:
            row = connection.execute(
                sa.select(units.c.cursor, units.c.caught_up).where(units.c.id == unit_id)
            ).one()
        return bool((batch.cursor is None or batch.cursor == row.cursor) and (row.caught_up or batch.more))

    def position(self, unit_id: int) -> StoredUnit:
        """Where the unit's polling stands now, which another process may have moved."""
        with self._read() as connection:
            row = connection.execute(sa.select(units).where(units.c.id == unit_id)).one()
        return _stored_unit(row, Unit(row.key, row.name, default_branch=row.default_branch))

    def known(self, unit_id: int) -> _Known:
        """What is stored of the unit, for a collector that wants to skip what did not change."""
        return _Known(self, unit_id)

    def views(self, unit_ids: Collection[int], *, job_state: bool = False) -> list[UnitView]:
        """What to show of those of *unit_ids* that are active and caught up."""
        with self._read() as connection:
            return [
                view
                for chunk in chunks(sorted(unit_ids))
                for view in read_views(connection, chunk, job_state=job_state)
            ]

    def versions(self, target: str) -> dict[int, int]:
        """``unit id -> version`` of all active, caught-up units, to notice what other processes saved."""
        with self._read() as connection:
            rows = connection.execute(
                sa.select(units.c.id, units.c.version)
                .join(targets)
                .where(targets.c.name == target, units.c.active, units.c.caught_up)
            )
            return {row.id: row.version for row in rows}

    def prune(self, before: datetime) -> int:
        """Delete finished runs last updated before *before*, with their jobs; totals stay. Returns runs.

        The newest run of a ref that still exists stays, however old. What was counted and then deleted
        must not count again when the source shows it once more, so counting starts at *before* at the
        earliest from now on.
        """
        with self._write() as connection:
            connection.execute(
                sa.update(units).where(units.c.counts_from < before).values(counts_from=before)
            )
        with self._read() as connection:
            unit_ids = connection.execute(sa.select(units.c.id)).scalars().all()
        return sum(self._prune_unit(unit_id, before) for unit_id in unit_ids)

    def _prune_unit(self, unit_id: int, before: datetime) -> int:
        """Delete the old runs of one unit, a bounded number per transaction."""
        newest = sa.select(latest.c.run_id).where(latest.c.unit_id == unit_id)
        old = (
            sa.select(runs.c.run_id)
            .where(
                runs.c.unit_id == unit_id,
                runs.c.updated_at < before,
                runs.c.status.in_([status.value for status in FINISHED]),
                runs.c.run_id.not_in(newest),
            )
            .limit(_PRUNE_ROWS)
        )
        deleted = 0
        while True:
            with self._write() as connection:
                run_ids = connection.execute(old).scalars().all()
                for chunk in chunks(run_ids):
                    for table in (jobs, runs):
                        connection.execute(
                            sa.delete(table).where(table.c.unit_id == unit_id, table.c.run_id.in_(chunk))
                        )
            deleted += len(run_ids)
            if len(run_ids) < _PRUNE_ROWS:
                return deleted

    def lease(self) -> Lease:
        """The right to run rounds on this store."""
        if not self._sqlite:
            return AdvisoryLease(self._engine)
        database = self._engine.url.database
        return FileLease(Path(database)) if database and database != ":memory:" else NoLease()

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        """A connection whose statements see one state of the database."""
        with store_errors(self._engine.url), self._memory_turn(), self._engine.connect() as connection:
            yield connection

    def _memory_turn(self) -> Any:
        """An in-memory database is one connection for all threads: readers must take turns as well."""
        in_memory = self._sqlite and self._engine.url.database in (None, "", ":memory:")
        return self._turn if in_memory else nullcontext()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block, or leaves no trace."""
        with (
            store_errors(self._engine.url),
            self._turn,
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    def _target(self, connection: Connection, name: str, now: datetime) -> tuple[int, datetime]:
        """Id and first sight of the target, which is entered if new and locked for this transaction."""
        find = sa.select(targets).where(targets.c.name == name).with_for_update()
        row = connection.execute(find).one_or_none()
        if row is None:
            connection.execute(sa.insert(targets).values(name=name, first_seen_at=now))
            row = connection.execute(find).one()
        return row.id, row.first_seen_at

    def _locked(self, connection: Connection, unit_id: int) -> sa.Row[Any]:
        """The unit's row, which no other process can change until this transaction ends."""
        row = connection.execute(
            sa.select(units).where(units.c.id == unit_id).with_for_update()
        ).one_or_none()
        if row is None:
            raise StoreError(f"store {self.name}: unit {unit_id} is gone; was the database replaced?")
        return row


class _Known:
    """Implements :class:`exporter.contract.Known` for one unit."""

    def __init__(self, store: SqlStore, unit_id: int) -> None:
        self._store = store
        self._unit_id = unit_id

    def updated_at(self, run_ids: Collection[int]) -> dict[int, datetime]:
        """``run id -> updated_at`` of those *run_ids* that are stored and need no further detail."""
        found: dict[int, datetime] = {}
        with self._store._read() as connection:
            for chunk in chunks(run_ids):
                rows = connection.execute(
                    sa.select(runs.c.run_id, runs.c.updated_at).where(
                        runs.c.unit_id == self._unit_id,
                        runs.c.run_id.in_(chunk),
                        sa.or_(runs.c.complete, runs.c.status.not_in([status.value for status in FINISHED])),
                    )
                )
                found.update((row.run_id, row.updated_at) for row in rows)
        return found

    def unfinished(self) -> list[PipelineRun]:
        """Stored runs that are not finished, oldest first."""
        return self._runs(unfinished, runs.c.run_id)

    def incomplete(self, limit: int) -> list[PipelineRun]:
        """The newest stored runs of which only a list entry was read, at most *limit*."""
        newest = sa.select(latest.c.run_id).where(latest.c.unit_id == self._unit_id)
        return self._runs(
            sa.and_(runs.c.run_id.in_(newest), sa.not_(runs.c.complete)), runs.c.run_id.desc(), limit
        )

    def _runs(self, where: Any, order: Any, limit: int | None = None) -> list[PipelineRun]:
        with self._store._read() as connection:
            rows = connection.execute(
                sa.select(runs).where(runs.c.unit_id == self._unit_id, where).order_by(order).limit(limit)
            )
            return [run_record(row) for row in rows]


def _new_unit(
    target_id: int, unit: Unit, first_seen_at: datetime, backfill_days: int, now: datetime
) -> dict[str, Any]:
    """The row of a unit that was never seen before."""
    counts_from = now - timedelta(days=backfill_days)
    if unit.created_at and unit.created_at >= first_seen_at:
        counts_from = min(counts_from, unit.created_at)
    return dict(
        target_id=target_id,
        key=unit.key,
        name=unit.name,
        default_branch=unit.default_branch,
        counts_from=counts_from,
        cursor=None,
        caught_up=False,
        active=True,
        version=0,
    )


def _stored_unit(row: sa.Row[Any], unit: Unit) -> StoredUnit:
    return StoredUnit(row.id, unit, row.cursor, row.counts_from, row.caught_up)
