"""The store on SQLite or PostgreSQL."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.contract import Batch, Unit
from exporter.errors import StoreError
from exporter.model.events import RUNS
from exporter.model.views import UnitView
from exporter.store.alerting import Alerting
from exporter.store.base import Saved, StoredUnit
from exporter.store.clean import storable_batch
from exporter.store.connect import describe, in_memory, lease_engine, open_engine, sqlite_file, store_errors
from exporter.store.history import SqlHistory
from exporter.store.inbox import Inbox
from exporter.store.inboxfile import InboxFile
from exporter.store.known import SqlKnown
from exporter.store.lease import AdvisoryLease, FileLease, Lease, NoLease
from exporter.store.news import UNIT, find_news, of_streams, unit_changes
from exporter.store.notices import Notices
from exporter.store.outbox import Outbox
from exporter.store.patience import one_of, patience
from exporter.store.places import Places
from exporter.store.pruning import PRUNE_ROWS, prune_some
from exporter.store.reading import read_views
from exporter.store.registering import register, stored_unit
from exporter.store.saving import Saver
from exporter.store.statements import chunks, upsert
from exporter.store.tables import facts, targets, units
from exporter.store.telling import About, Teller

# At once on PostgreSQL, so that as many polls as there are collectors leave connections to all others.
_SAVES = 8
_QUESTIONS = 4  # that people may ask at once; the other connections are for those who save and scrape
_QUESTION_SECONDS = 5.0

_IDENTITY = sa.select(facts.c.value).where(facts.c.name == "identity")
_LOCKED_UNIT = UNIT.with_for_update(key_share=True)


class SqlStore:
    """Implements :class:`exporter.store.base.Store` over SQLAlchemy Core.

    SQLite has one writer: a lock lets the threads of this process take turns instead of making the
    database wait and retry. On PostgreSQL, writers of different units go side by side.
    """

    def __init__(self, url: str) -> None:
        self.committing: Callable[[], AbstractContextManager[None]] = nullcontext
        self._engine = open_engine(url)
        self._places = threading.BoundedSemaphore(_QUESTIONS)
        self._lease_engines: list[sa.Engine] = []
        self._inbox_file: InboxFile | None = None
        self._sqlite = self._engine.dialect.name == "sqlite"
        self._turn = threading.RLock() if self._sqlite else nullcontext()
        self._saving = nullcontext() if self._sqlite else Places(_SAVES)
        # An in-memory database is one connection for all threads: readers must take turns as well.
        self._read_turn = self._turn if in_memory(self._engine.url) else nullcontext()
        self.providers: Callable[[], Mapping[str, str]] = dict
        self._identity = ""
        self.outbox = Outbox(self._read, self._write)
        self.notices = Notices(self._read, self._write)
        self.alerting = Alerting(self._read, self._write, self.notices)

    @property
    def name(self) -> str:
        """The file, or host and database; never a password."""
        return describe(self._engine.url)

    def identity(self) -> str:
        """What tells this store from all others: random, made when it is first asked for."""
        if not self._identity:
            with self._read() as connection:
                self._identity = connection.execute(_IDENTITY).scalar_one_or_none() or ""
        if not self._identity:
            with self._write() as connection:
                row = {"name": "identity", "value": secrets.token_hex(16)}
                connection.execute(upsert(connection, facts).values(row).on_conflict_do_nothing())
                self._identity = connection.execute(_IDENTITY).scalar_one()
        return self._identity

    def register(
        self, target: str, units_: Sequence[Unit], *, backfill_days: int, now: datetime, keep: bool = False
    ) -> list[StoredUnit]:
        """Make *units_* the active ones of *target*, in their order; those left out become inactive.

        With *keep* they stay, and come after *units_*, in the order in which they were first seen.

        A unit seen for the first time counts runs from *backfill_days* ago. One that was created after
        the target was first seen has no history that anyone could mistake for a burst: all of it counts.
        """
        with self._write() as connection:
            return register(connection, target, units_, backfill_days=backfill_days, now=now, keep=keep)

    def save(self, unit_id: int, batch: Batch, now: datetime) -> Saved:
        """Save all of *batch*, its counts and its cursor, or nothing."""
        news = self._news(unit_id, batch)
        if news is None:
            return Saved(0, 0, 0)
        batch = storable_batch(news)
        with self._saving, self._write() as connection:
            row = self._unit(connection, unit_id, lock=True)
            streams = self.outbox.wanted(row.wanted)
            teller = self._teller(connection, row, batch) if RUNS in streams else None
            saved = Saver(connection, row, teller).save(batch)
            changes = unit_changes(row, batch)
            if saved.changed or changes.keys() - {"cursor"}:
                changes["version"] = row.version + 1  # tells other processes
            if changes:
                connection.execute(sa.update(units).where(units.c.id == unit_id).values(**changes))
            events = self.outbox.claim(connection, row.target_id, of_streams(streams, batch.events))
            told = [*events, *(teller.events if teller else ())]
            self.outbox.add(connection, told, now)
        if told:
            self.outbox.ring()
        return replace(saved, new_events=len(events))

    def _news(self, unit_id: int, batch: Batch) -> Batch | None:
        """What of *batch* is news; ``None`` if none is, as of most polls of idle projects."""
        records = batch.runs or batch.jobs or batch.deleted_runs or batch.refs or batch.unit
        if records and not (batch.observations or batch.events):
            return batch
        with self._look() as connection:
            try:
                return find_news(connection, unit_id, batch, self.outbox.wanted)
            except LookupError:
                raise self._gone(unit_id) from None

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block in which several saves wait for other writers of this process once, not each."""
        with self._turn:
            yield

    def _teller(self, connection: Connection, row: sa.Row[Any], batch: Batch) -> Teller | None:
        """What tells the sinks of changed runs; ``None`` if it is no news."""
        if batch.history or not row.caught_up:
            return None
        if not (batch.runs or batch.jobs):
            return None
        name = connection.execute(sa.select(targets.c.name).where(targets.c.id == row.target_id)).scalar_one()
        unit = batch.unit or Unit(row.key, row.name, default_branch=row.default_branch)
        about = About(self.providers().get(name, ""), name, row.key, unit.name, unit.default_branch)
        return Teller(about, row.counts_from)

    def position(self, unit_id: int) -> StoredUnit:
        """Where the unit's polling stands now, which another process may have moved."""
        with self._read() as connection:
            row = self._unit(connection, unit_id)
        return stored_unit(row)

    def known(self, unit_id: int) -> SqlKnown:
        """What is stored of the unit, for a collector that wants to skip what did not change."""
        return SqlKnown(self._read, unit_id)

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

    def history(self, providers: Callable[[], Mapping[str, str]]) -> SqlHistory:
        """What people ask about runs; *providers* tells the ``target -> provider`` that are configured."""
        return SqlHistory(self._ask, providers)

    def prune(self, before: datetime) -> int:
        """Delete finished runs last updated before *before*, with their jobs; totals stay. Returns runs.

        The newest run of a ref that still exists stays, however old. What was counted and then deleted
        must not count again when the source shows it once more, so counting starts at *before* at the
        earliest from now on.
        """
        with self._read() as connection:
            unit_ids = connection.execute(sa.select(units.c.id).order_by(units.c.id)).scalars().all()
        return sum(self._prune_unit(unit_id, before) for unit_id in unit_ids)

    def _prune_unit(self, unit_id: int, before: datetime) -> int:
        """Delete the old runs of one unit, some in each transaction."""
        deleted = 0
        while True:
            with self._write() as connection:
                some = prune_some(connection, self._unit(connection, unit_id, lock=True), before)
            deleted += some
            if some < PRUNE_ROWS:
                return deleted

    def lease(self) -> Lease:
        """The right to run rounds on this store."""
        if not self._sqlite:
            self._lease_engines.append(lease_engine(self._engine))
            return AdvisoryLease(self._lease_engines[-1])
        file = sqlite_file(self._engine.url)
        return FileLease(file) if file else NoLease()

    def inbox(self) -> Inbox:
        """The queue of hooks: in this database, which all replicas share; of SQLite, in a file beside it."""
        if not self._sqlite:
            return Inbox(self._read, self._write)
        if self._inbox_file is None:
            beside = sqlite_file(self._engine.url)
            path = beside.with_name(f"{beside.stem}-hooks{beside.suffix}") if beside else None
            self._inbox_file = InboxFile(path)
        file = self._inbox_file
        return Inbox(file.read, file.write, file.alone, file.tidy)

    def close(self) -> None:
        """Let go of all connections."""
        if self._inbox_file is not None:
            self._inbox_file.close()
        for engine in (self._engine, *self._lease_engines):
            engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        """A connection whose statements see one state of the database."""
        with store_errors(self._engine.url), self._read_turn, self._engine.connect() as connection:
            if not self._sqlite:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection
            connection.commit()  # after a ROLLBACK, psycopg would prepare every statement anew

    @contextmanager
    def _look(self) -> Iterator[Connection]:
        """A connection on which each statement sees a state of its own: quicker, where one is enough."""
        options: dict[str, Any] = {"alone": True} if self._sqlite else {"isolation_level": "AUTOCOMMIT"}
        connecting = self._engine.connect
        with store_errors(self._engine.url), self._read_turn, connecting() as connection:
            yield connection.execution_options(**options)

    @contextmanager
    def _ask(self) -> Iterator[Connection]:
        """A connection like that of `_read`, for questions of people: neither long nor many at once."""
        with (
            one_of(self._places, _QUESTION_SECONDS),
            self._read() as connection,
            patience(connection, _QUESTION_SECONDS),
        ):
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """A transaction that commits at the end of the block, or leaves no trace."""
        with (
            self.committing(),
            store_errors(self._engine.url),
            self._turn,
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    def _unit(self, connection: Connection, unit_id: int, *, lock: bool = False) -> sa.Row[Any]:
        """The unit's row; with *lock*, no other process can change it until this transaction ends."""
        find = _LOCKED_UNIT if lock else UNIT
        row = connection.execute(find, {"unit_id": unit_id}).one_or_none()
        if row is None:
            raise self._gone(unit_id)
        return row

    def _gone(self, unit_id: int) -> StoreError:
        return StoreError(f"store {self.name}: unit {unit_id} is gone; was the database replaced?")
