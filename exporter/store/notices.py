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
from exporter.store.tables import notices

_Connecting = Callable[[], AbstractContextManager[Connection]]


class Notices:
    """A queue of messages for each channel; those of one channel are sent in their order, as far as due."""

    def __init__(self, read: _Connecting, write: _Connecting) -> None:
        self._read = read
        self._write = write

    def add(self, connection: Connection, messages: Iterable[Notice]) -> None:
        """Put *messages* in, with the transaction of *connection*."""
        rows = [_row(notice) for notice in messages]
        if rows:
            connection.execute(sa.insert(notices), rows)

    def due(self, channel: str, now: datetime, limit: int) -> list[Notice]:
        """The first *limit* messages that are to be sent over *channel* now."""
        with self._read() as connection:
            rows = connection.execute(
                sa.select(notices)
                .where(notices.c.channel == channel, notices.c.due_at <= now)
                .order_by(notices.c.number)
                .limit(limit)
            )
            return [_notice(row) for row in rows]

    def next_due(self, channel: str) -> datetime | None:
        """When the next message is to be sent over *channel*; ``None`` if there is none."""
        with self._read() as connection:
            mine = notices.c.channel == channel
            found = connection.execute(sa.select(sa.func.min(notices.c.due_at)).where(mine))
            return found.scalar_one_or_none()

    def waiting(self) -> dict[str, int]:
        """``channel -> messages`` that are not sent."""
        with self._read() as connection:
            rows = connection.execute(
                sa.select(notices.c.channel, sa.func.count()).group_by(notices.c.channel)
            )
            return dict(rows.tuples().all())

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
