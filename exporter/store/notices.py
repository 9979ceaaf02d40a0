"""Messages to people, kept until they are sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.model.alerts import Alert, Notice, NoticeKind, Severity
from exporter.store.bells import Bells
from exporter.store.tables import notices

_OVERTAKING = 500  # so many later messages are looked at: what is in more of them is not worth the time
_Connecting = Callable[[], AbstractContextManager[Connection]]


class Notices(Bells):
    """A queue of messages for each channel; those of one channel are sent in their order, as far as due.

    Any thread may call.
    """

    def __init__(self, read: _Connecting, write: _Connecting) -> None:
        super().__init__()
        self._read = read
        self._write = write

    def add(self, connection: Connection, messages: Iterable[Notice]) -> None:
        """Put *messages* in, with the transaction of *connection*; call :meth:`ring` after its commit."""
        rows = [_row(notice) for notice in messages]
        if rows:
            connection.execute(sa.insert(notices), rows)

    def next(self, channel: str, now: datetime, *, passing: int) -> Notice | None:
        """The message that is to be sent over *channel* now: the oldest, if it is due.

        One that was tried *passing* times in vain, and is not due, no longer holds up those after it.
        """
        passed_by = sa.and_(notices.c.attempts >= passing, notices.c.due_at > now)
        with self._read() as connection:
            row = connection.execute(
                sa.select(notices)
                .where(notices.c.channel == channel, sa.not_(passed_by))
                .order_by(notices.c.number)
                .limit(1)
            ).one_or_none()
            return _notice(row) if row is not None and row.due_at <= now else None

    def due(self, channel: str, now: datetime, limit: int) -> list[Notice]:
        """The first *limit* messages for *channel* of which none has to wait longer than until *now*."""
        with self._read() as connection:
            rows = connection.execute(
                sa.select(notices)
                .where(notices.c.channel == channel, notices.c.due_at <= now)
                .order_by(notices.c.number)
                .limit(limit)
            )
            return [_notice(row) for row in rows]

    def is_overtaken(self, notice: Notice) -> bool:
        """Whether a later message for the same channel tells of all alerts that *notice* tells of."""
        mine = {alert.fingerprint for alert in notice.alerts}
        later = (
            sa.select(notices.c.alerts)
            .where(notices.c.channel == notice.channel, notices.c.number > notice.number)
            .order_by(notices.c.number)
            .limit(_OVERTAKING)
        )
        with self._read() as connection:
            return any(
                mine <= {alert["fingerprint"] for alert in json.loads(row.alerts)}
                for row in connection.execute(later)
            )

    def waiting(self) -> dict[str, int]:
        """``channel -> messages`` that are not sent."""
        with self._read() as connection:
            rows = connection.execute(
                sa.select(notices.c.channel, sa.func.count().label("waiting")).group_by(notices.c.channel)
            )
            return {row.channel: row.waiting for row in rows}

    def postpone(self, number: int, due_at: datetime) -> None:
        """Sending message *number* failed; it is tried again at *due_at*."""
        with self._write() as connection:
            connection.execute(
                sa.update(notices)
                .where(notices.c.number == number)
                .values(attempts=notices.c.attempts + 1, due_at=due_at)
            )

    def remove(self, numbers: Sequence[int]) -> None:
        """The messages *numbers* are sent, or given up."""
        with self._write() as connection:
            connection.execute(sa.delete(notices).where(notices.c.number.in_(list(numbers))))

    def remove_others(self, channels: Sequence[str]) -> int:
        """Drop what waits for channels that are none of *channels*; returns how many messages."""
        with self._write() as connection:
            gone = sa.delete(notices).where(notices.c.channel.not_in(list(channels)))
            return connection.execute(gone).rowcount


def _row(notice: Notice) -> dict[str, Any]:
    return {
        "channel": notice.channel,
        "kind": notice.kind.value,
        "title": notice.title,
        "body": notice.body,
        "alerts": json.dumps([_alert_object(alert) for alert in notice.alerts]),
        "created_at": notice.created_at,
        "due_at": notice.created_at,
        "attempts": notice.attempts,
    }


def _notice(row: sa.Row[Any]) -> Notice:
    return Notice(
        channel=row.channel,
        kind=NoticeKind(row.kind),
        title=row.title,
        body=row.body,
        alerts=tuple(_alert(alert) for alert in json.loads(row.alerts)),
        created_at=row.created_at,
        number=row.number,
        attempts=row.attempts,
    )


def _alert_object(alert: Alert) -> dict[str, Any]:
    values = asdict(alert)
    values["started_at"] = alert.started_at.isoformat()
    values["resolved_at"] = alert.resolved_at.isoformat() if alert.resolved_at else None
    return values


def _alert(values: dict[str, Any]) -> Alert:
    resolved = values["resolved_at"]
    times = {
        "started_at": datetime.fromisoformat(values["started_at"]),
        "resolved_at": datetime.fromisoformat(resolved) if resolved else None,
    }
    return Alert(**(values | times | {"severity": Severity(values["severity"])}))
