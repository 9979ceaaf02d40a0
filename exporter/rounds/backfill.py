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
        except Stopped:
            raise
        except ExporterError as error:
            failed = 1
            log.warning(_FAILED, extra={**_where(collector, unit), "error": str(error)})
        except Exception:
            # A collector's bug in one project is no reason to give up on the others.
            failed = 1
            log.exception(_FAILED, extra=_where(collector, unit))
        with turn:
            progress.units_done += 1
            progress.failed += failed
            report(progress)

    with ThreadPoolExecutor(capacity, thread_name_prefix="backfill") as pool:
        try:
            list(pool.map(fill, units))
        except BaseException:
            # Stopped or interrupted: what has not begun must not be waited for.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return progress


def _where(collector: Collector[Any], unit: StoredUnit) -> dict[str, str]:
    return {"collector": collector.name, "project": unit.unit.name}
