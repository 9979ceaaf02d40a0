"""Instants and lengths of time, as they are written in questions and in answers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from exporter.clock import EPOCH

INSTANT = "an RFC 3339 time such as 2026-03-01T12:00:00Z, a date, milliseconds since 1970, now, or now-7d"
LENGTH = "whole seconds, or a number with s, m, h, d or w such as 15m"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_MILLISECONDS = re.compile(r"-?[0-9]{1,14}")
_RELATIVE = re.compile(r"now(?:-([0-9]{1,6})([smhdw]))?")
_LENGTH = re.compile(r"([0-9]{1,9})([smhdw]?)")
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
# A blank for the sign: that is what becomes of a + that nobody encoded.
_WRITTEN = re.compile(
    _DATE + r"(?:[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[-+ ][0-9]{2}:[0-9]{2}))?"
)

INSTANT_PATTERN = f"^(?:{_RELATIVE.pattern}|{_MILLISECONDS.pattern}|{_WRITTEN.pattern})$"
LENGTH_PATTERN = f"^{_LENGTH.pattern}$"


def read_instant(text: str, now: datetime) -> datetime:
    """The instant in UTC that *text* means.

    ``now`` is the end of the current minute, so that the same question stays the same one for a while.

    Raises:
        ValueError: it means none.
    """
    try:
        if relative := _RELATIVE.fullmatch(text):
            count, unit = relative.groups()
            minute = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
            return minute - timedelta(seconds=int(count or 0) * _SECONDS[unit or "s"])
        if _MILLISECONDS.fullmatch(text):
            return EPOCH + timedelta(milliseconds=int(text))
        return _read_written(text)
    except (ValueError, OverflowError):
        raise ValueError(f"must be {INSTANT}") from None


def _read_written(text: str) -> datetime:
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise ValueError
    clock, fraction, zone = found.groups(default="")
    if not clock:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    zone = "+00:00" if zone in "Zz" else zone.replace(" ", "+")
    # Digits beyond microseconds are cut: fromisoformat() before 3.11.3 refuses them.
    return datetime.fromisoformat(f"{text[:10]}T{clock}.{fraction[:6]:0<6}{zone}").astimezone(UTC)


def read_length(text: str) -> int:
    """The seconds, 1 or more, that *text* means.

    Raises:
        ValueError: it means none.
    """
    found = _LENGTH.fullmatch(text)
    seconds = int(found[1]) * _SECONDS[found[2] or "s"] if found else 0
    if not seconds:
        raise ValueError(f"must be {LENGTH}, and not 0")
    return seconds


def write_instant(instant: datetime | None) -> str | None:
    """*instant* by RFC 3339, in UTC with Z, with a fraction only where there is one."""
    return None if instant is None else instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
