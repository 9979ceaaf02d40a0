"""What a visitor asks the status page for: read from the query of its URL, and written as one."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from urllib.parse import parse_qsl, urlencode

from exporter.model.history import Wanted
from exporter.model.runs import Status

_LONGEST = 255
_MOST_FIELDS = 50


@dataclass(frozen=True, slots=True)
class Range:
    """A span of time that ends now, and how it is cut into steps; ``text`` goes on after "the"."""

    name: str
    text: str
    length: timedelta
    step: timedelta

    def window(self, now: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
        """Its beginning and end in UTC; it ends with the step of the zone's day that is under way."""
        local = now.astimezone(zone)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
        # Counted from midnight, so that a step of a day is a day there, and one of six hours a quarter of it.
        until = midnight + ((now - midnight) // self.step + 1) * self.step
        return until - self.length, until


RANGES = {
    one.name: one
    for one in (
        Range("24h", "last 24 hours", timedelta(hours=24), timedelta(minutes=30)),
        Range("7d", "last 7 days", timedelta(days=7), timedelta(hours=6)),
        Range("30d", "last 30 days", timedelta(days=30), timedelta(days=1)),
    )
}
_DEFAULT = RANGES["24h"]


@dataclass(frozen=True, slots=True)
class Filters:
    """What is asked for; an empty text and ``None`` are no condition.

    ``project`` and ``ref`` are globs. ``after`` is where the list of runs goes on.
    """

    range: Range = _DEFAULT
    project: str = ""
    ref: str = ""
    status: Status | None = None
    source: str = ""
    provider: str = ""
    after: str = ""

    @property
    def narrowed(self) -> bool:
        """Whether any condition is set, the time apart."""
        return bool(self.project or self.ref or self.status or self.source or self.provider)

    def wanted(self, since: datetime | None = None, until: datetime | None = None) -> Wanted:
        """All conditions, as a question to the history."""
        return replace(
            self.place(),
            since=since,
            until=until,
            refs=_one(self.ref),
            statuses=_one(self.status),
            sources=_one(self.source),
        )

    def place(self) -> Wanted:
        """Only which projects: what stands still or fails now is not sought among chosen refs."""
        return Wanted(projects=_one(self.project), providers=_one(self.provider))

    def query(self, **changes: Any) -> str:
        """These filters with *changes*, as the query of a link; begins anew at the newest run."""
        changed = replace(self, **{"after": "", **changes})
        values = {field.name: getattr(changed, field.name) for field in fields(Filters)}
        values["range"] = "" if changed.range is _DEFAULT else changed.range.name
        return "?" + urlencode({name: value for name, value in values.items() if value})


def read(query: str) -> tuple[Filters, Sequence[str]]:
    """The filters of a URL, and a sentence for each part that makes no sense and is left out."""
    notices: list[str] = []
    given = _fields(query, notices)
    chosen = {name: given.get(name, "") for name in ("project", "ref", "source", "provider", "after")}
    span = given.get("range", "")
    if span and span not in RANGES:
        notices.append(f"There is no range “{span}”, only {', '.join(RANGES)}: this is the {_DEFAULT.text}.")
    status = given.get("status", "")
    if status and status not in list(Status):
        notices.append(f"There is no status “{status}”: runs of every status are shown.")
    return Filters(
        range=RANGES.get(span, _DEFAULT), status=Status(status) if status in list(Status) else None, **chosen
    ), notices


def exactly(name: str) -> str:
    """A glob that matches *name* and nothing else."""
    return glob.escape(name)


def _fields(query: str, notices: list[str]) -> dict[str, str]:
    """Each field once, without those that nobody can mean."""
    try:
        pairs = parse_qsl(query, max_num_fields=_MOST_FIELDS)
    except ValueError:
        notices.append(f"The address holds more than {_MOST_FIELDS} filters: none of them is used.")
        return {}
    known = {field.name for field in fields(Filters)}
    found: dict[str, str] = {}
    for name, value in pairs:
        text = value.strip()
        if name not in known or not text:
            continue
        if name in found:
            notices.append(f"The filter {name} is given more than once: the first one is used.")
        elif len(text) > _LONGEST and name != "after":
            notices.append(f"The filter {name} is longer than {_LONGEST} characters and is not used.")
        elif "\0" in text:
            notices.append(f"The filter {name} holds a NUL character and is not used.")
        else:
            found[name] = text
    return found


def _one(value: Any) -> tuple[Any, ...]:
    return (value,) if value else ()
