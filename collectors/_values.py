"""Reading values out of a source's JSON: each is of the documented type, or the answer is bad."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from exporter.errors import BadAnswer

_LARGEST_ID = 2**63 - 1  # what a database column holds
_FIRST_YEAR, _LAST_YEAR = 1970, 9000  # far enough from both ends of the calendar to add and subtract
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")  # what databases refuse to store
Json = Mapping[str, Any]


def parse_instant(text: str) -> datetime:
    """An aware instant in UTC; offsets, ``Z`` and any number of decimals are understood.

    Raises:
        ValueError: it is no time, or one without an offset.
    """
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC")
    if not _FIRST_YEAR <= parsed.year <= _LAST_YEAR:
        raise ValueError(f"{text!r} is no time at which anything ran")
    return parsed.astimezone(UTC)


def json_object(value: Any, what: str) -> Json:
    """*value* if it is an object; *what* names it in the error."""
    if not isinstance(value, dict):
        raise BadAnswer(f"a {what} should be a JSON object, got {type(value).__name__}")
    return value


def text(entry: Json, key: str) -> str:
    """The string under *key*, with what no database would store replaced."""
    value = entry.get(key)
    if not isinstance(value, str):
        raise BadAnswer(f"{key} should be a string, got {type(value).__name__}")
    return _UNWRITABLE.sub("\ufffd", value)


def text_or_empty(entry: Json, key: str) -> str:
    """The string under *key*; empty for null and for a missing one, as in older versions."""
    return "" if entry.get(key) is None else text(entry, key)


def integer(entry: Json, key: str, most: int = _LARGEST_ID) -> int:
    """The integer under *key*, from 0 to *most*, by default what a database column holds."""
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadAnswer(f"{key} should be an integer, got {type(value).__name__}")
    if not 0 <= value <= most:
        raise BadAnswer(f"{key} is out of range")
    return value


def instant(entry: Json, key: str) -> datetime:
    """The time under *key*."""
    value = instant_or_none(entry.get(key))
    if value is None:
        raise BadAnswer(f"{key} should be a time with an offset from UTC")
    return value


def instant_or_none(value: Any) -> datetime | None:
    """*value* as a time; ``None`` for what is none."""
    if not isinstance(value, str):
        return None
    try:
        return parse_instant(value)
    except ValueError:
        return None


def seconds(value: Any) -> float | None:
    """A duration that may be null, negative by clock skew, or a string in old versions."""
    try:
        number = None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    # One infinite observation would spoil a histogram's sum for ever.
    return max(0.0, number) if number is not None and math.isfinite(number) else None


def ratio(value: Any) -> float | None:
    """A share that is given in percent, as a number or a string, as 0 to 1."""
    percent = seconds(value)
    return None if percent is None else percent / 100
