"""Filling history: polls over a past window, saved like any others, moving no live cursor."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock
from typing import Any

from exporter.contract import Backfills, Collector
from exporter.errors import ExporterError, Stopped
from exporter.store.base import Store, StoredUnit

log = logging.getLogger(__name__)

_FAILED = "backfill of a project failed; run it again to complete it"


@dataclass(slots=True)
class Progress:
    """How far a backfill is; ``runs`` were new or changed in the store."""

    units: int
    units_done: int = 0
    runs: int = 0
    counted: int = 0
    failed: int = 0


def backfill(
    collector: Collector[Any],
    store: Store,
    *,
    start: datetime,
    end: datetime,
    capacity: int,
    report: Callable[[Progress], None],
) -> Progress:
    """Read and save everything of *collector* that was updated in [*start*, *end*).

    Safe to interrupt and to run again: what is stored unchanged is not read in detail twice, and the
    store counts no execution twice. Runs that finished before live counting began feed history only.

    Raises:
        ExporterError: the collector cannot do it, or its units cannot be discovered.
        Stopped: the program is stopping; what is saved stays.
    """
    if not isinstance(collector, Backfills):
        raise ExporterError(f"collector {collector.name} has no history to read")
    units = store.register(
        collector.target,
        collector.discover().units,
        backfill_days=collector.backfill_days,
        now=end,
    )
    filler = _Filler(collector, store, start, end, Progress(len(units)), report)
    with ThreadPoolExecutor(capacity, thread_name_prefix="backfill") as pool:
        try:
            list(pool.map(filler.fill, units))
        except BaseException:
            # Stopped or interrupted: what has not begun must not be waited for.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return filler.progress


class _Filler:
    """Fills one unit after the other, several at a time, and keeps the common progress."""

    def __init__(
        self,
        collector: Backfills,
        store: Store,
        start: datetime,
        end: datetime,
        progress: Progress,
        report: Callable[[Progress], None],
    ) -> None:
        self.progress = progress
        self._collector = collector
        self._store = store
        self._start = start
        self._end = end
        self._report = report
        self._turn = Lock()

    def fill(self, unit: StoredUnit) -> None:
        """Read and save the window of one unit; a failure is told and counted, a stop comes through."""
        failed = 0
        try:
            self._read(unit)
        except Stopped:
            raise
        except ExporterError as error:
            failed = 1
            log.warning(_FAILED, extra={**self._where(unit), "error": str(error)})
        except Exception:
            # A collector's bug in one project is no reason to give up on the others.
            failed = 1
            log.exception(_FAILED, extra=self._where(unit))
        with self._turn:
            self.progress.units_done += 1
            self.progress.failed += failed
            self._report(self.progress)

    def _read(self, unit: StoredUnit) -> None:
        known = self._store.known(unit.id)
        for batch in self._collector.backfill(unit.unit, self._start, self._end, known):
            # Neither cursor nor "caught up": this is not where live polling stands.
            saved = self._store.save(unit.id, replace(batch, cursor=None, more=True, history=True), self._end)
            with self._turn:
                self.progress.runs += saved.changed
                self.progress.counted += saved.counted_runs
                self._report(self.progress)

    def _where(self, unit: StoredUnit) -> dict[str, str]:
        return {"collector": getattr(self._collector, "name", ""), "project": unit.unit.name}
