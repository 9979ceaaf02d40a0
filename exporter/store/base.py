"""What a store promises; tests/contracts holds every implementation to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from exporter.contract import Batch, Known, Unit
from exporter.model.history import History
from exporter.model.views import UnitView
from exporter.store.alerting import Alerting
from exporter.store.inbox import Inbox
from exporter.store.lease import Lease
from exporter.store.notices import Notices
from exporter.store.outbox import Outbox


@dataclass(frozen=True, slots=True)
class StoredUnit:
    """A unit as the store has it: where its polling stands and whether it may be shown yet.

    ``caught_up`` is false until its first history is complete: shown before, history would look like
    a burst of new runs to ``rate()``.
    """

    id: int
    unit: Unit
    cursor: str | None
    counts_from: datetime
    caught_up: bool


@dataclass(frozen=True, slots=True)
class Saved:
    """What saving one batch changed: rows that are new or different, executions newly counted, new events."""

    changed: int
    counted_runs: int
    counted_jobs: int
    new_events: int = 0


class Store(Protocol):
    """Where runs, jobs and totals live; every verb is one transaction and may be called from any thread.

    ``committing`` is entered around each transaction that writes; whoever wants to count them sets it.
    ``providers`` tells the ``target -> provider`` that are configured, for the events of runs.
    """

    committing: Callable[[], AbstractContextManager[None]]
    outbox: Outbox
    notices: Notices
    alerting: Alerting
    providers: Callable[[], Mapping[str, str]]

    def identity(self) -> str:
        """What tells this store from all others, and stays with its data; a copy has the same."""
        ...

    def register(
        self, target: str, units: Sequence[Unit], *, backfill_days: int, now: datetime, keep: bool = False
    ) -> list[StoredUnit]:
        """Make *units* the active ones of *target*, in their order; those left out become inactive.

        With *keep* they stay as they are, and come after *units*.
        """
        ...

    def save(self, unit_id: int, batch: Batch, now: datetime) -> Saved:
        """Save all of *batch*, its counts and its cursor, or nothing."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """A block in which several saves wait for other writers of this process once, not each."""
        ...

    def position(self, unit_id: int) -> StoredUnit:
        """Where the unit's polling stands now, which another process may have moved."""
        ...

    def known(self, unit_id: int) -> Known:
        """What is stored of the unit, for a collector that wants to skip what did not change."""
        ...

    def views(self, unit_ids: Collection[int], *, job_state: bool = False) -> list[UnitView]:
        """What to show of those of *unit_ids* that are active and caught up."""
        ...

    def versions(self, target: str) -> dict[int, int]:
        """``unit id -> version`` of all active, caught-up units, to notice what other processes saved."""
        ...

    def history(self, providers: Callable[[], Mapping[str, str]]) -> History:
        """What people ask about runs; *providers* tells the ``target -> provider`` that are configured."""
        ...

    def prune(self, before: datetime) -> int:
        """Delete finished runs last updated before *before*, with their jobs; totals stay. Returns runs."""
        ...

    def lease(self) -> Lease:
        """The right to run rounds on this store."""
        ...

    def inbox(self) -> Inbox:
        """The queue of hooks; opened when it is first asked for."""
        ...

    def close(self) -> None:
        """Let go of all connections."""
        ...
