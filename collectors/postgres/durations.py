"""Durations as Prometheus writes them: ``1h30m``, ``500ms``, ``0``."""

from __future__ import annotations

import re

_UNITS = {"y": 31_536_000, "w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(
    r"(?:(?P<y>[0-9]+)y)?(?:(?P<w>[0-9]+)w)?(?:(?P<d>[0-9]+)d)?(?:(?P<h>[0-9]+)h)?"
    r"(?:(?P<m>[0-9]+)m)?(?:(?P<s>[0-9]+)s)?(?:(?P<ms>[0-9]+)ms)?\Z"
)


def seconds(text: str) -> float:
    """*text* in seconds.

    Raises:
        ValueError: it is no such duration.
    """
    found = _DURATION.match(text) if text else None
    if text != "0" and found is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 5m or 1h30m")
    parts = {} if found is None else {unit: int(number) for unit, number in found.groupdict("0").items()}
    return sum(_UNITS[unit] * number for unit, number in parts.items() if unit != "ms") + (
        parts.get("ms", 0) / 1000
    )
