"""The memory of alerts: what is wrong, what people were told of it, and how both are saved in one go."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.errors import StoreError
from exporter.model.alerts import AlertState, Notice, Told
from exporter.store.notices import Notices
from exporter.store.outbox import advanced
from exporter.store.records import Records
from exporter.store.statements import chunks, replace_rows, upsert
from exporter.store.tables import Instant, alerts, facts, watches

_Connecting = Callable[[], AbstractContextManager[Connection]]
_INSTANT = Instant()
_ROW = 1  # the only one of `watches`
_FACT = "alerts_begun"
_BEGUN = sa.select(facts.c.name).where(facts.c.name == _FACT)


class Alerting:
    """The alerts in the store. Only one process at a time keeps them: the one that began last."""

    def __init__(self, read: _Connecting, write: _Connecting, notices: Notices) -> None:
        self._read = read
        self._write = write
        self._notices = notices

    @contextmanager
    def records(self) -> Iterator[Records]:
        """Stored runs and jobs in one state, for as long as the block lasts; nothing can be saved in it."""
        with self._read() as connection:
            yield Records(connection)

    def begun(self) -> bool:
        """Whether anything was ever saved here: if not, nobody has looked at what is stored."""
        with self._read() as connection:
            return connection.execute(_BEGUN).scalar_one_or_none() is not None

    def begin(self) -> tuple[int, list[AlertState]]:
        """Take the turn to keep the alerts: its number, for :meth:`save`, and what is kept."""
        with self._write() as connection:
            first = upsert(connection, watches).values(id=_ROW, turn=0).on_conflict_do_nothing()
            connection.execute(first)
            raised = sa.update(watches).values(turn=watches.c.turn + 1).returning(watches.c.turn)
            turn = connection.execute(raised).scalar_one()
            return turn, [_state(row) for row in connection.execute(sa.select(alerts))]

    def save(
        self,
        turn: int,
        changed: Sequence[AlertState],
        gone: Collection[str],
        messages: Sequence[Notice],
        sink: str,
        position: int | None,
    ) -> None:
        """Keep *changed*, forget *gone*, queue *messages*, and move *sink* to *position*: all or nothing.

        Raises:
            StoreError: another process has taken the turn since; nothing is saved.
        """
        with self._write() as connection:
            mine = sa.update(watches).where(watches.c.turn == turn).values(turn=turn)
            if connection.execute(mine).rowcount != 1:
                raise StoreError("another process keeps the alerts now; nothing is told by this one")
            first = upsert(connection, facts).values(name=_FACT, value="").on_conflict_do_nothing()
            connection.execute(first)
            replace_rows(connection, alerts, [_row(state) for state in changed])
            for chunk in chunks(sorted(gone)):
                connection.execute(sa.delete(alerts).where(alerts.c.fingerprint.in_(chunk)))
            self._notices.add(connection, messages)
            if position is not None:
                connection.execute(advanced(sink, position))
        if messages:
            self._notices.ring()


def _row(state: AlertState) -> dict[str, Any]:
    flips = (str(_INSTANT.process_bind_param(flip, None)) for flip in state.flips)  # type: ignore[arg-type]
    return {
        "fingerprint": state.fingerprint,
        "rule": state.rule,
        "definition": state.definition,
        "labels": json.dumps(dict(state.labels)),
        "about": json.dumps(dict(state.about)),
        "started_at": state.started_at,
        "changed_at": state.changed_at,
        "resolved_at": state.resolved_at,
        "told": state.told.value,
        "told_at": state.told_at,
        "flips": " ".join(flips),
        "flapping": state.flapping,
        "flapping_told": state.flapping_told,
    }


def _state(row: sa.Row[Any]) -> AlertState:
    return AlertState(
        fingerprint=row.fingerprint,
        rule=row.rule,
        definition=row.definition,
        labels=json.loads(row.labels),
        about=json.loads(row.about),
        started_at=row.started_at,
        changed_at=row.changed_at,
        resolved_at=row.resolved_at,
        told=Told(row.told),
        told_at=row.told_at,
        flips=tuple(map(_instant, row.flips.split())),
        flapping=row.flapping,
        flapping_told=row.flapping_told,
    )


def _instant(text: str) -> datetime:
    return _INSTANT.process_result_value(int(text), None)  # type: ignore[arg-type, return-value]
