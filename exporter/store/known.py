"""What is stored of one unit, for a collector that wants to skip what did not change."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.model.runs import FINISHED, PipelineRun
from exporter.store.clean import known_ids
from exporter.store.rows import run_record
from exporter.store.statements import chunks
from exporter.store.tables import latest, runs, unfinished


class SqlKnown:
    """Implements :class:`exporter.contract.Known` for one unit."""

    def __init__(self, read: Callable[[], AbstractContextManager[Connection]], unit_id: int) -> None:
        self._read = read
        self._unit_id = unit_id

    def updated_at(self, run_ids: Collection[int]) -> dict[int, datetime]:
        """``run id -> updated_at`` of those *run_ids* that are stored and need no further detail."""
        found: dict[int, datetime] = {}
        with self._read() as connection:
            for chunk in chunks(known_ids(run_ids)):
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
        # Ids first: for them alone SQLite uses the index that holds only the few unfinished runs.
        ids = sa.select(runs.c.run_id).where(runs.c.unit_id == self._unit_id, unfinished)
        return self._runs(sa.and_(runs.c.run_id.in_(ids), sa.not_(runs.c.deleted)), runs.c.run_id)

    def incomplete(self, limit: int) -> list[PipelineRun]:
        """The newest stored runs of which only a list entry was read, at most *limit*."""
        newest = sa.select(latest.c.run_id).where(latest.c.unit_id == self._unit_id)
        return self._runs(
            sa.and_(runs.c.run_id.in_(newest), sa.not_(runs.c.complete)), runs.c.run_id.desc(), limit
        )

    def _runs(self, where: Any, order: Any, limit: int | None = None) -> list[PipelineRun]:
        with self._read() as connection:
            rows = connection.execute(
                sa.select(runs).where(runs.c.unit_id == self._unit_id, where).order_by(order).limit(limit)
            )
            return [run_record(row) for row in rows]
