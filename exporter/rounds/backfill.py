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
from exporter.errors import ExporterError
from exporter.store.base import Store, StoredUnit

log = logging.getLogger(__name__)


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
    """
    if not isinstance(collector, Backfills):
        raise ExporterError(f"collector {collector.name} has no history to read")
    units = store.register(
        collector.target,
        collector.discover().units,
        backfill_days=collector.backfill_days,
        now=end,
    )
    progress = Progress(len(units))
    turn = Lock()

    def fill(unit: StoredUnit) -> None:
        failed = 0
        try:
            for batch in collector.backfill(unit.unit, start, end, store.known(unit.id)):
                # Neither cursor nor "caught up": this is not where live polling stands.
                saved = store.save(unit.id, replace(batch, cursor=None, more=True), end)
                with turn:
                    progress.runs += saved.changed
                    progress.counted += saved.counted_runs
                    report(progress)
        except ExporterError as error:
            failed = 1
            log.warning(
                "backfill of a project failed; run it again to complete it",
                extra={"collector": collector.name, "project": unit.unit.name, "error": str(error)},
            )
        with turn:
            progress.units_done += 1
            progress.failed += failed
            report(progress)

    with ThreadPoolExecutor(capacity, thread_name_prefix="backfill") as pool:
        list(pool.map(fill, units))
    return progress
