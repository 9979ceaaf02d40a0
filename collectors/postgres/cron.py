"""Cron expressions of five fields, with weekdays as cron counts them."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Any

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Cron:
    """When a cron expression fires, in *zone*.

    Raises:
        ValueError: it is no expression of five fields.
    """

    def __init__(self, expression: str, zone: tzinfo) -> None:
        # Imported late: a listing of collectors needs no scheduler.
        from apscheduler.triggers.cron import CronTrigger

        fields = expression.split()
        try:
            if len(fields) == 5:
                fields[4] = ",".join(map(_weekdays, fields[4].lower().split(",")))
            self._trigger: Any = CronTrigger.from_crontab(" ".join(fields), timezone=zone)
        except (ValueError, TypeError, IndexError):
            raise ValueError(
                "must be a cron expression of five fields, such as '*/5 * * * *' or '0 6 * * mon-fri'"
            ) from None

    def after(self, instant: datetime) -> datetime | None:
        """The first time it fires after *instant*; ``None`` if it never does again."""
        found: datetime | None = self._trigger.get_next_fire_time(instant, instant)
        return found


def _weekdays(part: str) -> str:
    """One item of the weekday field by names: APScheduler's numbers begin on Monday, cron's on Sunday."""
    days, slash, step = part.partition("/")
    if days == "*" and not slash:
        return part
    first, dash, last = ("0", "-", "6") if days == "*" else days.partition("-")
    start = _number(first)
    end = _number(last) if dash else (6 if slash else start)
    if end < start:
        end += 7  # such as fri-mon
    numbers = range(start, end + 1, int(step) if slash else 1)
    return ",".join(dict.fromkeys(_DAYS[number % 7] for number in numbers))


def _number(day: str) -> int:
    number = int(day) if day.isdigit() else _DAYS.index(day)
    if number > 7:
        raise ValueError(day)
    return number
