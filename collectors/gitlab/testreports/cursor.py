"""Where the reading of one project's reports stands, and what is shown of them; saved with each batch."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from collectors._testing import OTHER, Case, Newest, RefKey
from collectors.gitlab.mapping import ListEntry
from collectors.gitlab.values import parse_instant
from exporter.clock import EPOCH
from exporter.model.runs import RefKind

log = logging.getLogger(__name__)

_UNDER_WAY = timedelta(days=1)
# A pipeline may be run again at any age. Which of its suites were counted is remembered for so long after its
# creation; an older one that is run again is shown, and not counted.
_COUNTS_FOR = timedelta(days=100)
_GONE = timedelta(days=30)
_LONGEST_WAIT = timedelta(hours=1)
_MOST_TRIES = 30
_LONGEST_ERROR = 200
_MOST_WAITING = 200
_MOST_PUT_OFF = 2_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """A finished pipeline whose report is to be read at ``due``.

    ``counts`` is false for one that ended before anybody watched: its report is shown, but counted nowhere.
    ``counts_until`` is when it ceases to count, being too old: what was counted of it is then forgotten.
    ``kind`` is that of its ref if it is known for sure. ``error`` is what the last of the ``tries`` met.
    """

    run_id: int
    ref: str
    source: str
    updated_at: datetime
    due: datetime
    counts_until: datetime
    counts: bool = True
    kind: RefKind | None = None
    tries: int = 0
    error: str = ""

    @classmethod
    def of(
        cls,
        entry: ListEntry,
        due: datetime,
        watched_from: datetime,
        *,
        counts: bool,
        kind: RefKind | None = None,
    ) -> Waiting:
        """What a list of pipelines tells of it; the project has been *watched_from* then on."""
        until = max(entry.created_at, watched_from) + _COUNTS_FOR
        return cls(entry.run_id, entry.ref, entry.source, entry.updated_at, due, until, counts, kind)

    def is_due(self, now: datetime) -> bool:
        """Whether it is time to read it; it is, too, if a clock that was set back would have it wait."""
        return not timedelta() < self.due - now <= _LONGEST_WAIT

    def put_off(self, now: datetime, error: str) -> Waiting | None:
        """The same after one more try failed; ``None`` after so many that it is given up, a day later."""
        if self.tries >= _MOST_TRIES:
            return None
        due = now + min(_LONGEST_WAIT, timedelta(seconds=30 * 2 ** min(self.tries, 10)))
        return replace(self, due=due, tries=self.tries + 1, error=error[:_LONGEST_ERROR])


@dataclass(slots=True)
class State:
    """Everything that lasts from one poll of a project to the next.

    ``updated_at`` and ``children_at`` are the newest changes read of pipelines and of child pipelines,
    ``refs_read_at`` when the existing refs were. ``seen`` are the changes at the end of what was read, since
    lists are read with an overlap. ``running`` are pipelines under way. ``suites`` are those told by name,
    and when the last pipeline ended that reported them.
    ``looked`` is the newest pipeline of each ref that was looked at, whether it had a report or not.
    """

    updated_at: datetime | None = None
    children_at: datetime | None = None
    refs_read_at: datetime | None = None
    seen: dict[int, datetime] = field(default_factory=dict)
    running: dict[int, datetime] = field(default_factory=dict)
    queue: dict[int, Waiting] = field(default_factory=dict)
    suites: dict[str, datetime] = field(default_factory=dict)
    looked: dict[str, int] = field(default_factory=dict)
    newest: dict[RefKey, Newest] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None) -> State:
        """The state in *text*; the beginning for one that cannot be read."""
        try:
            return _state(json.loads(text or "{}"))
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
            log.warning("a stored cursor could not be read; reading the reports of tests anew")
            return cls()

    def __str__(self) -> str:
        times = {
            "updated_at": self.updated_at,
            "children_at": self.children_at,
            "refs_read_at": self.refs_read_at,
        }
        fields: dict[str, Any] = {name: time.isoformat() for name, time in times.items() if time}
        fields["seen"] = _written(self.seen)
        fields["running"] = _written(self.running)
        fields["queue"] = [_of_waiting(one) for one in self.queue.values()]
        fields["suites"] = {name: time.isoformat() for name, time in self.suites.items()}
        fields["looked"] = self.looked
        fields["newest"] = [[*key, _of_newest(one)] for key, one in self.newest.items()]
        return json.dumps({name: value for name, value in fields.items() if value})

    def full(self) -> bool:
        """Whether so many reports wait that the lists can wait, too; those put off take little room."""
        untried = sum(not one.tries for one in self.queue.values())
        return untried >= _MOST_WAITING or len(self.queue) >= _MOST_PUT_OFF

    def busy(self, now: datetime) -> bool:
        """Whether a pipeline is under way, or a report waits to be read."""
        return bool(self.queue) or any(time > now - _UNDER_WAY for time in self.running.values())

    def forget(self, overlap: timedelta, now: datetime) -> None:
        """Drop what no list can bring any more."""
        oldest = min(self.updated_at or now, now) - 2 * overlap
        self.seen = {number: time for number, time in self.seen.items() if time >= oldest}
        self.running = {number: time for number, time in self.running.items() if time > now - _UNDER_WAY}

    def suite_label(self, name: str, ended_at: datetime, most: int) -> str:
        """What a suite that was reported is called in labels; `other` if there is no room for it."""
        if name not in self.suites and len(self.suites) >= most:
            return OTHER
        self.suites[name] = max(ended_at, self.suites.get(name, ended_at))
        return name if name in list(self.suites)[:most] else OTHER

    def give_up_suites(self) -> list[str]:
        """Forget the suites that reports have long come without, and return those that have totals.

        A project in which nothing happens keeps all of its own.
        """
        newest = max(self.suites.values(), default=EPOCH)
        gone = [name for name, time in self.suites.items() if time < newest - _GONE]
        for name in gone:
            del self.suites[name]
        return [name for name in gone if name != OTHER]


def _written(times: Mapping[int, datetime]) -> dict[str, str]:
    return {str(number): time.isoformat() for number, time in times.items()}


def _times(given: Mapping[str, str]) -> dict[int, datetime]:
    return {int(number): parse_instant(time) for number, time in given.items()}


def _state(given: dict[str, Any]) -> State:
    times = ("updated_at", "children_at", "refs_read_at")
    queue = map(_waiting, given.get("queue", ()))
    suites = given.get("suites", {})
    if isinstance(suites, list):  # as older versions wrote them: all as if reported lately
        suites = dict.fromkeys(suites, given["updated_at"])
    return State(
        **{name: parse_instant(given[name]) for name in times if name in given},
        seen=_times(given.get("seen", {})),
        running=_times(given.get("running", {})),
        queue={one.run_id: one for one in queue},
        suites={str(name): parse_instant(time) for name, time in suites.items()},
        looked={str(ref): int(number) for ref, number in given.get("looked", {}).items()},
        newest={RefKey(*key): _newest(one) for *key, one in given.get("newest", ())},
    )


def _of_waiting(one: Waiting) -> list[Any]:
    kind = one.kind.value if one.kind else ""
    times = (one.updated_at.isoformat(), one.due.isoformat())
    until = one.counts_until.isoformat()
    return [one.run_id, one.ref, one.source, *times, one.counts, kind, one.tries, one.error, until]


def _waiting(given: list[Any]) -> Waiting:
    run_id, ref, source, updated_at, due, counts, kind, tries, error, *more = given
    times = (parse_instant(updated_at), parse_instant(due))
    known = RefKind(kind) if kind else None
    until = parse_instant(more[0]) if more else times[0] + _COUNTS_FOR
    return Waiting(int(run_id), ref, source, *times, until, bool(counts), known, int(tries), str(error))


def _of_newest(one: Newest) -> dict[str, Any]:
    return {
        "run_id": one.run_id,
        "finished_at": one.finished_at.isoformat(),
        "seconds": one.seconds,
        "cases": dict(one.cases),
        "suites": dict(one.suites),
        "key": one.key,
        "history": [[*case, ends] for case, ends in one.history.items()],
    }


def _newest(given: dict[str, Any]) -> Newest:
    return Newest(
        int(given["run_id"]),
        parse_instant(given["finished_at"]),
        float(given["seconds"]),
        {str(status): int(count) for status, count in given["cases"].items()},
        {str(status): int(count) for status, count in given["suites"].items()},
        str(given["key"]),
        {Case(*case): str(ends) for *case, ends in given["history"]},
    )
