"""Keeping `latest`: which stored run is the newest of its pipeline, ref and source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.contract import Batch
from exporter.model.runs import PipelineRun
from exporter.store.statements import Upsert, chunks, made_once
from exporter.store.tables import latest, runs

_KEYS = ("unit_id", "pipeline", "ref_kind", "ref", "source")


def _raising(statement: Upsert) -> Upsert:
    return statement.on_conflict_do_update(
        index_elements=list(latest.primary_key.columns),
        set_={"run_id": statement.excluded.run_id},
        where=statement.excluded.run_id > latest.c.run_id,
    )


_RAISE = made_once(_raising, latest)


def latest_key(run: PipelineRun) -> tuple[str, ...]:
    """What a run is the newest of: pipeline, kind of ref, ref, source."""
    return (run.pipeline, run.ref_kind.value, run.ref, run.source)


class Newest:
    """The rows of `latest` of one unit, on a connection that holds its lock."""

    def __init__(self, connection: Connection, unit_id: int) -> None:
        self._connection = connection
        self._unit_id = unit_id

    def note(self, changed: Iterable[PipelineRun]) -> None:
        """Make each selected run of *changed* the newest of its ref, unless a newer one is known.

        Only a changed run may do so: one that is merely seen again must not bring back a ref that was
        forgotten. A run that is not selected (any more) takes its ref's row away.
        """
        newest: dict[tuple[str, ...], int] = {}
        unselected: set[tuple[str, ...]] = set()
        for run in sorted(changed, key=lambda run: run.run_id):
            key = latest_key(run)
            if run.selected:
                newest[key] = run.run_id
                unselected.discard(key)
            else:
                unselected.add(key)
        self._remove(unselected - newest.keys())
        self._raise(newest)

    def restore(self, seen: Iterable[PipelineRun]) -> int:
        """Give refs of *seen*, which a list just proved to exist, their row back; returns how many."""
        wanted = {latest_key(run): run.run_id for run in sorted(seen, key=lambda run: run.run_id)}
        if not wanted:
            return 0
        rows = self._connection.execute(sa.select(latest).where(latest.c.unit_id == self._unit_id))
        known = {tuple(getattr(row, name) for name in _KEYS[1:]) for row in rows}
        missing = {key: run_id for key, run_id in wanted.items() if key not in known}
        self._raise(missing)
        return len(missing)

    def _remove(self, keys: Iterable[tuple[str, ...]]) -> None:
        rows = [dict(zip(_KEYS, (self._unit_id, *key), strict=True)) for key in sorted(keys)]
        if rows:
            mine = [latest.c[name] == sa.bindparam(f"b_{name}") for name in _KEYS]
            self._connection.execute(
                sa.delete(latest).where(*mine), [{f"b_{k}": v for k, v in row.items()} for row in rows]
            )

    def _raise(self, newest: dict[tuple[str, ...], int]) -> None:
        if not newest:
            return
        self._connection.execute(
            _RAISE(self._connection),
            [
                dict(zip(_KEYS, (self._unit_id, *key), strict=True), run_id=run_id)
                for key, run_id in sorted(newest.items())
            ],
        )

    def replace(self, run_ids: Sequence[int]) -> None:
        """Where one of *run_ids*, which no longer belong there, is the newest, put the run before it."""
        for chunk in chunks(run_ids):
            rows = self._connection.execute(
                sa.select(latest).where(latest.c.unit_id == self._unit_id, latest.c.run_id.in_(chunk))
            ).all()
            for row in rows:
                self._replace(row)

    def _replace(self, row: sa.Row[tuple[object, ...]]) -> None:
        """Point one row of `latest` at the newest run that is left, or remove it."""
        same = [runs.c[name] == getattr(row, name) for name in _KEYS]
        newest = self._connection.execute(
            sa.select(sa.func.max(runs.c.run_id)).where(*same, runs.c.selected, sa.not_(runs.c.deleted))
        ).scalar()
        mine = [latest.c[name] == getattr(row, name) for name in _KEYS]
        if newest is None:
            self._connection.execute(sa.delete(latest).where(*mine))
        else:
            self._connection.execute(sa.update(latest).where(*mine).values(run_id=newest))

    def forget_refs(self, batch: Batch) -> int:
        """Remove the state of refs that are gone; returns how many.

        A run created since the list was read proves it wrong, whatever its pipeline and source.
        """
        if not batch.refs or batch.refs_read_at is None:
            return 0
        existing = {(kind.value, ref) for kind, refs in batch.refs.items() for ref in refs}
        gone = sorted(
            ref
            for ref, created_at in self._newest_of_refs([kind.value for kind in batch.refs]).items()
            if ref not in existing and created_at < batch.refs_read_at
        )
        for ref_kind, ref in gone:
            self._connection.execute(
                sa.delete(latest).where(
                    latest.c.unit_id == self._unit_id, latest.c.ref_kind == ref_kind, latest.c.ref == ref
                )
            )
        return len(gone)

    def _newest_of_refs(self, kinds: list[str]) -> dict[tuple[str, str], datetime]:
        """``(kind, ref) -> when the youngest of its newest runs was created``."""
        same_run = sa.and_(runs.c.unit_id == latest.c.unit_id, runs.c.run_id == latest.c.run_id)
        rows = self._connection.execute(
            sa.select(latest.c.ref_kind, latest.c.ref, sa.func.max(runs.c.created_at).label("created_at"))
            .join_from(latest, runs, same_run)
            .where(latest.c.unit_id == self._unit_id, latest.c.ref_kind.in_(kinds))
            .group_by(latest.c.ref_kind, latest.c.ref)
        )
        return {(row.ref_kind, row.ref): row.created_at for row in rows}
