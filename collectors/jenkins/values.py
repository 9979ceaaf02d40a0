"""Reading values out of Jenkins' JSON: its times are milliseconds, and its lists may be missing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from collectors._values import Json, text
from exporter.clock import EPOCH
from exporter.errors import BadAnswer

LARGEST = 2**31  # of the numbers that are an int in Java
LONGEST = 253_402_300_799_000 // 2  # milliseconds; far enough from the end of the calendar to add


def instant(milliseconds: int) -> datetime:
    """The time so many *milliseconds* after the beginning of 1970."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def entries(entry: Json, key: str, *, needed: bool = False) -> list[Any]:
    """The list under *key*; empty where there is none, unless it is *needed*."""
    value = entry.get(key)
    if value is None and not needed:
        return []
    if not isinstance(value, list):
        raise BadAnswer(f"{key} should be a list, got {type(value).__name__}")
    return value


def objects(entry: Json, key: str) -> list[Json]:
    """The objects of the list under *key*; anything else in it is passed over."""
    return [one for one in entries(entry, key) if isinstance(one, dict)]


def clean(value: str) -> str:
    """*value* as any text is taken."""
    return text({"value": value}, "value")
