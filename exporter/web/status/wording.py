"""Times, durations and shares in the words of the status page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

UNKNOWN = "–"
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant for people: ``shown`` in few characters, ``exact`` as RFC 3339 in the same zone."""

    shown: str
    exact: str


@dataclass(frozen=True, slots=True)
class Wording:
    """How instants are written: in ``zone``, and as seen at ``now``."""

    zone: tzinfo
    now: datetime

    def moment(self, instant: datetime) -> Moment:
        """*instant*, without its date when it is today."""
        local, today = instant.astimezone(self.zone), self.now.astimezone(self.zone)
        exact = local.isoformat(timespec="seconds")
        if local.date() == today.date():
            return Moment(f"{local:%H:%M:%S}", exact)
        if local.year == today.year:
            return Moment(f"{local.day} {local:%b %H:%M}", exact)
        return Moment(f"{local:%Y-%m-%d %H:%M}", exact)

    def age(self, instant: datetime) -> str:
        """How long ago *instant* was, in minutes at the finest: the page changes no more often."""
        seconds = (self.now - instant) / timedelta(seconds=1)
        return "under 1 min" if seconds < 60 else duration(seconds // 60 * 60)


def duration(seconds: float | None) -> str:
    """*seconds* in its two largest units, such as ``4 min 12 s``; a dash for ``None``."""
    if seconds is None:
        return UNKNOWN
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f}".removesuffix(".0") + " s"
    left = round(seconds)
    for (unit, size), (smaller, part) in zip(_UNITS, (*_UNITS[1:], ("", 1)), strict=True):
        if left >= size:
            rest = left % size // part if smaller else 0
            return f"{left // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return "0 s"


def percent(share: float | None) -> str:
    """A share of 0 to 1; all and nothing are said only when they are meant."""
    if share is None:
        return UNKNOWN
    shown = f"{share * 100:.1f}"
    if shown == "100.0" and share < 1:
        shown = "99.9"
    if shown == "0.0" and share > 0:
        shown = "0.1"
    return f"{shown.removesuffix('.0')} %"


def many(count: int, thing: str, things: str = "") -> str:
    """*count* with the fitting noun, such as ``1 run`` and ``2 runs``."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"
