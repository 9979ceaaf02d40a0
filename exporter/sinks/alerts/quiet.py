"""Quiet hours: whether people are to be left alone now."""

from __future__ import annotations

from datetime import datetime, time, timedelta, tzinfo

from exporter.config.rules import QuietHours, zone_named
from exporter.model.alerts import Severity

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Quiet:
    """Quiet hours in a time zone. They go by the clock on the wall: also where it is put forward or back."""

    def __init__(self, hours: QuietHours, zone: tzinfo) -> None:
        self._from = time.fromisoformat(hours.since)
        self._to = time.fromisoformat(hours.to)
        self._days = frozenset(hours.days)
        self._severities = frozenset(hours.severities)
        self._zone = zone_named(hours.timezone) if hours.timezone else zone

    def hold(self, severity: Severity, now: datetime) -> bool:
        """Whether a message of *severity* has to wait."""
        if severity not in self._severities:
            return False
        local = now.astimezone(self._zone)
        clock = local.time()
        if self._from < self._to:
            return self._from <= clock < self._to and self._begins(local)
        # Over midnight: the hours of the morning belong to the day before.
        return (clock >= self._from and self._begins(local)) or (
            clock < self._to and self._begins(local - timedelta(days=1))
        )

    def _begins(self, local: datetime) -> bool:
        return _DAYS[local.weekday()] in self._days
