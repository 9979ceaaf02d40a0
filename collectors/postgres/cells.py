"""From PostgreSQL's text of a value to labels, numbers and times; a value's type is the OID of its column.

Expects the default output styles: ``DateStyle`` ISO, ``IntervalStyle`` postgres, ``bytea_output`` hex.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import cache, partial
from math import isfinite
from zoneinfo import ZoneInfo, available_timezones

BOOL, BYTEA, INT8, INT2, INT4, OID = 16, 17, 20, 21, 23, 26
FLOAT4, FLOAT8, NUMERIC = 700, 701, 1700
DATE, TIME, TIMESTAMP, TIMESTAMPTZ, INTERVAL, TIMETZ = 1082, 1083, 1114, 1184, 1186, 1266

_DAY = 86_400
_MICRO = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097  # after which the calendar repeats
_BOOLS = {"t": "true", "f": "false"}
_INFINITE = {"infinity": float("inf"), "-infinity": float("-inf")}
# The numbers of Go's ParseFloat.
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_NUMBER = re.compile(
    rf"[-+]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][-+]?{_DIGITS})?\Z"
    r"|(?P<special>(?i:[-+]?inf(?:inity)?|nan))\Z"
    r"|(?P<hex>[-+]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][-+]?[0-9]+)\Z"
)
_STAMP = re.compile(
    r"(?P<year>[0-9]{4,})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?: (?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,6}))?)?"
    r"(?P<offset>[-+][0-9]{2}(?::[0-9]{2}){0,2})?(?P<bc> BC)?\Z"
)
_INTERVAL = re.compile(
    r"(?:(?P<years>[-+]?[0-9]+) years?)?\s?(?:(?P<months>[-+]?[0-9]+) mons?)?\s?"
    r"(?:(?P<days>[-+]?[0-9]+) days?)?\s?"
    r"(?:(?P<sign>[-+]?)(?P<hours>[0-9]+):(?P<minutes>[0-9]{2}):(?P<seconds>[0-9]{2})"
    r"(?:\.(?P<fraction>[0-9]{1,6}))?)?\Z"
)


def label_text(oid: int) -> Callable[[str], str] | None:
    """What turns a value of the type *oid* into a label as sql_exporter shows it; ``None``: it is one."""
    return _LABELS.get(oid)


def number(oid: int, zone: str | tzinfo = UTC) -> Callable[[str], float]:
    """What turns a value of the type *oid* into a sample.

    Intervals become seconds, points in time Unix seconds; those without a time zone are taken in *zone*,
    a name of the time zone database. The function raises ``ValueError`` for what is no number, and for what
    is in a zone that only the server knows.
    """
    if oid in (INT8, INT2, INT4, OID, FLOAT4, FLOAT8):
        return float
    if oid == NUMERIC:
        return _numeric
    if oid == BOOL:
        return _truth
    if oid == INTERVAL:
        return _interval
    if oid in (DATE, TIMESTAMP, TIMESTAMPTZ):
        return partial(_unix, zone if isinstance(zone, tzinfo) else _place(zone))
    return _float


def milliseconds(oid: int) -> Callable[[str], int]:
    """What turns a value of the type *oid* into a sample's own time, in Unix milliseconds rounded down.

    Times without a time zone are UTC. The function raises ``ValueError`` for what is no point in time.
    """
    return _milliseconds if oid in (DATE, TIMESTAMP, TIMESTAMPTZ) else _no_time


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


# -- labels --------------------------------------------------------------------------------------


def _float_label(text: str) -> str:
    """As Go's ``%g`` writes the shortest number: an exponent from a million on, and below 0.0001."""
    if len(text) <= 6 and text.isdigit():
        return text
    value = float(text)
    if not isfinite(value):
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
    exact = Decimal(repr(value))
    # Trailing zeros are no digits of the shortest number.
    sign, digits, exponent = exact.normalize().as_tuple()
    if not isinstance(exponent, int):  # pragma: no cover - only of what is not finite
        return text
    power = len(digits) + exponent - 1
    if value == 0 or -4 <= power < 6:
        return format(exact.normalize(), "f")
    head, tail = str(digits[0]), "".join(map(str, digits[1:]))
    return f"{'-' * sign}{head}{'.' * bool(tail)}{tail}e{power:+03d}"


def _stamp_label(text: str) -> str:
    """RFC 3339; PostgreSQL's own text for what that cannot say (before Christ, infinity)."""
    found = _STAMP.match(text)
    if found is None or found["bc"]:
        return text
    date = f"{found['year']}-{found['month']}-{found['day']}"
    time = f"{found['hour'] or '00'}:{found['minute'] or '00'}:{found['second'] or '00'}"
    return f"{date}T{time}{_fraction_label(found['fraction'])}{_offset_label(found['offset'])}"


def _time_label(text: str) -> str:
    """A time of day on the first day of the year 0, as lib/pq has it; 24:00 is the second day's start."""
    found = re.match(r"([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6}))?([-+][0-9:]+)?\Z", text)
    if found is None:
        return text
    day, time = ("02", "00:00:00") if found[1] == "24:00:00" else ("01", found[1])
    return f"0000-01-{day}T{time}{_fraction_label(found[2])}{_offset_label(found[3])}"


def _fraction_label(digits: str | None) -> str:
    trimmed = (digits or "").rstrip("0")
    return f".{trimmed}" if trimmed else ""


def _offset_label(offset: str | None) -> str:
    """``Z`` or ``+02:00``; seconds, which a few offsets before 1900 have, are left out as in Go."""
    short = f"{offset or '+00'}:00"[:6]
    return "Z" if short[1:] == "00:00" else short


def _bytes_label(text: str) -> str:
    if not re.match(r"\\x(?:[0-9a-fA-F]{2})*\Z", text):
        return text
    return bytes.fromhex(text[2:]).decode("utf-8", "replace")


_LABELS: dict[int, Callable[[str], str]] = {
    BOOL: lambda text: _BOOLS.get(text, text),
    BYTEA: _bytes_label,
    FLOAT4: _float_label,
    FLOAT8: _float_label,
    DATE: _stamp_label,
    TIMESTAMP: _stamp_label,
    TIMESTAMPTZ: _stamp_label,
    TIME: _time_label,
    TIMETZ: _time_label,
}


# -- numbers -------------------------------------------------------------------------------------


def _truth(text: str) -> float:
    if text not in _BOOLS:
        raise ValueError(f"{_shown(text)} is neither true nor false")
    return 1.0 if text == "t" else 0.0


def _numeric(text: str) -> float:
    value = float(text)
    if not isfinite(value) and text[-1:].isdigit():
        raise ValueError(f"{_shown(text)} is too large for a number")
    return value


def _float(text: str) -> float:
    found = _NUMBER.match(text)
    if found is None:
        raise ValueError(f"{_shown(text)} is not a number")
    try:
        value = float.fromhex(text) if found["hex"] else float(text)
    except OverflowError:
        value = float("inf")
    if found["special"] is None and not isfinite(value):
        raise ValueError(f"{_shown(text)} is too large for a number")
    return value


def _interval(text: str) -> float:
    """In seconds, a month as 30 days and a year as 365.25, like ``EXTRACT(EPOCH FROM …)``."""
    if text in _INFINITE:
        return _INFINITE[text]
    found = _INTERVAL.match(text)
    if found is None or found.lastgroup is None:
        raise ValueError(f"{_shown(text)} is not an interval in the style postgres")
    years, months, days, hours, minutes, seconds = (
        int(found[name] or 0) for name in ("years", "months", "days", "hours", "minutes", "seconds")
    )
    time = (hours * 3600 + minutes * 60 + seconds) * _MICRO + _micros(found["fraction"])
    whole = years * 31_557_600 + months * 30 * _DAY + days * _DAY
    return (whole * _MICRO + (-time if found["sign"] == "-" else time)) / _MICRO


@cache
def _place(zone: str) -> tzinfo | str:
    """The zone of this name; the name when there is none. PostgreSQL takes it in any case."""
    if zone.upper() == "UTC":
        return UTC
    with suppress(KeyError, ValueError, OSError):
        return ZoneInfo(zone)
    return next((ZoneInfo(name) for name in available_timezones() if name.lower() == zone.lower()), zone)


def _unix(zone: tzinfo | str, text: str) -> float:
    return _INFINITE[text] if text in _INFINITE else _instant(text, zone) / _MICRO


def _milliseconds(text: str) -> int:
    if text in _INFINITE:
        raise ValueError(f"a sample cannot have the time {text}")
    return _instant(text, UTC) // 1000


def _no_time(text: str) -> int:
    raise ValueError(f"{_shown(text)} is neither a date nor a timestamp")


def _instant(text: str, zone: tzinfo | str) -> int:
    """Microseconds since 1970 of a date or timestamp; in *zone* when it has no offset of its own."""
    found = _STAMP.match(text)
    if found is None:
        raise ValueError(f"{_shown(text)} is neither a date nor a timestamp")
    year = 1 - int(found["year"]) if found["bc"] else int(found["year"])
    cycles = 0
    if not 1000 <= year <= 9000:
        # Python's calendar is shorter than PostgreSQL's; another year of the same shape takes its place.
        cycles = (year - (1000 if year < 1000 else 8000)) // _CYCLE_YEARS
        year -= cycles * _CYCLE_YEARS
    midnight = datetime(year, int(found["month"]), int(found["day"]), tzinfo=UTC)
    hours, minutes, seconds = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    fraction = _micros(found["fraction"])
    local = midnight + timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=fraction)
    if found["offset"]:
        offset = _offset(found["offset"])
    elif isinstance(zone, str):
        raise ValueError(f"a time without a zone, in the zone {_shown(zone)}, which is not known here")
    else:
        offset = _zone_offset(local, zone)
    days = cycles * _CYCLE_DAYS
    return (local - offset - _EPOCH) // timedelta(microseconds=1) + days * _DAY * _MICRO


def _micros(fraction: str | None) -> int:
    return int(fraction.ljust(6, "0")) if fraction else 0


def _offset(text: str) -> timedelta:
    hours, minutes, seconds, *_ = (*map(int, text[1:].split(":")), 0, 0)
    offset = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return -offset if text[0] == "-" else offset


def _zone_offset(local: datetime, zone: tzinfo) -> timedelta:
    """As PostgreSQL has it: of a time that comes twice the later, of one skipped by the offset before."""
    offsets = (local.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    return min(offset for offset in offsets if offset is not None)
