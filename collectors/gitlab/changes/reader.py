"""One poll of one project: the merge requests that changed, and those that are open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from pydantic import TypeAdapter

from collectors._failures import concerns_all
from collectors.gitlab import news
from collectors.gitlab.changes import mapping
from collectors.gitlab.changes.client import ChangesClient
from collectors.gitlab.changes.reviews import reviews_of
from collectors.gitlab.changes.settings import ChangesConfig
from exporter import ci_delivery_families as families
from exporter.contract import Batch, Context, Observation, Position, Unit
from exporter.errors import BadAnswer, SourceError
from exporter.families import Family, Samples
from exporter.model.delivery import ENDED, Change, ChangeState

_MOST_REMEMBERED = 5_000
_NOTES_PER_POLL = 50


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the polling of one project stands, as saved with each batch.

    ``updated_at`` is the newest change read, and ``catching_up`` whether more were waiting behind it.
    ``unread`` are merge requests of which GitLab said nothing usable.
    """

    updated_at: datetime | None = None
    catching_up: bool = False
    unread: tuple[int, ...] = ()

    def __str__(self) -> str:
        return CURSORS.dump_json(self, exclude_none=True).decode()


CURSORS = TypeAdapter(Cursor)


@dataclass(slots=True)
class Memory:
    """What is known of a project from the last poll, and not worth storing.

    It holds for the position ``cursor`` alone: another process may have gone on since. ``opened`` are open
    merge requests by number, with their state and when they were created. ``read`` is as of which change
    the notes of one were read, ``settled`` are those of which nothing more can come. ``samples`` are those
    shown last. ``listed_at`` is when the list of open ones was read.

    It changes at the end of a poll, and is forgotten if that was not saved: what it says was read must have
    been counted.
    """

    cursor: str | None = None
    opened: dict[int, tuple[ChangeState, datetime]] = field(default_factory=dict)
    read: dict[int, datetime] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    samples: Samples | None = None
    listed_at: datetime | None = None


class ChangeReader:
    """Reads one project once."""

    def __init__(
        self,
        unit: Unit,
        memory: Memory,
        *,
        client: ChangesClient,
        config: ChangesConfig,
        context: Context,
    ) -> None:
        self._unit = unit
        self._memory = memory
        self._client = client
        self._config = config
        self._now = context.clock.now()
        self._unknown = context.api.unknown_value
        self._observations: list[Observation] = []
        self._changed: list[Change] = []
        self._notes_read = 0
        self._read: dict[int, datetime] = {}
        self._settled: set[int] = set()
        self._unread = news.Unread(unit, "merge request", ())
        self._counts_from = self._now
        self._failure: SourceError | None = None

    def read(self, cursor: Cursor, position: Position) -> Batch:
        """What is new since *cursor*; bounded, with ``more`` if more is waiting.

        What was read before a call failed is kept: of a source that fails now and then, a poll of many
        calls would otherwise never bring anything home.
        """
        memory = self._memory
        current = memory.cursor is not None and memory.cursor == position.cursor
        if not current:
            memory.read, memory.settled, memory.listed_at = {}, set(), None
        self._unread = news.Unread(self._unit, "merge request", cursor.unread)
        self._counts_from = position.counts_from
        updated_at, more = self._read_changes(cursor)
        if self._failure is None:
            self._failure = self._unread.try_again(self._read_again)
        after = Cursor(updated_at, more, self._unread.left)
        self._update_open()
        self._remember()
        samples: Samples | None = None
        if memory.listed_at is not None:
            samples = families.change_samples("gitlab", self._unit.name, memory.opened.values())
        quiet, memory.samples, memory.cursor = samples == memory.samples, samples, str(after)
        return Batch(
            cursor=str(after),
            observations=tuple(self._observations),
            samples=samples,
            quiet=quiet,
            more=more and self._failure is None,
            trouble=self._unread.trouble,
            failure=self._failure,
        )

    def _read_changes(self, cursor: Cursor) -> tuple[datetime, bool]:
        """Read pages of changed merge requests; up to which time, and whether more are waiting."""
        after = news.read_from(
            cursor.updated_at, self._counts_from, self._now, catching_up=cursor.catching_up
        )
        seen, pages, waiting = cursor.updated_at or after, 0, False
        ask = partial(self._client.changed, self._unit.key)
        try:
            for entries, more in news.pages_of_changes(ask, after, self._client.per_page):
                for entry in entries:
                    waiting = True
                    self._take(entry)
                    seen = max(seen, news.changed_at(entry))
                    if self._failure is not None or self._notes_read >= _NOTES_PER_POLL:
                        return seen, True
                pages, waiting = pages + 1, more
                if pages >= news.PAGES_OF_NEWS and seen > after:
                    break
        except SourceError as error:
            if news.is_refused(error) or not self._changed:
                raise
            self._failure = error
        return seen, waiting

    def _take(self, value: Any) -> None:
        """Take one merge request; if it cannot be read it is put off, so that others go on."""
        number = mapping.number(value)
        try:
            change = mapping.change(value, unknown=self._unknown)
            self._changed.append(change)
            if number not in self._unread:  # those have their turn later, when a failure is no news
                self._count(change)
        except BadAnswer as error:
            self._unread.put_off(number, error)
        except SourceError as error:
            if concerns_all(error):
                raise
            self._unread.put_off(number, error)
            self._failure = error

    def _read_again(self, number: int) -> None:
        """Take a merge request that was put off; one that is gone by now is forgotten."""
        value = self._client.change(self._unit.key, number)
        if value is not None:
            change = mapping.change(value, unknown=self._unknown)
            self._changed.append(change)
            self._count(change)

    # -- what a merge request adds to totals ---------------------------------------------------

    def _count(self, change: Change) -> None:
        """Note what *change* adds: all of it, or nothing if its notes cannot be read."""
        found = list(self._endings(change))
        if self._config.reviews and self._may_have_news(change):
            found += self._reviews(change)
        self._observations += found

    def _endings(self, change: Change) -> Iterator[Observation]:
        """A merge happens once; one that is closed may be opened and closed again."""
        ended_at = change.ended_at
        if ended_at is None or ended_at < self._counts_from:
            return
        merged = change.state is ChangeState.MERGED
        key = f"{change.number}" if merged else f"{change.number} {int(ended_at.timestamp())}"
        yield Observation(families.CHANGES_ENDED, (change.state.value,), 1.0, f"{change.state.value} {key}")
        if merged:
            yield self._time(families.TIME_TO_MERGE, change, ended_at)

    def _may_have_news(self, change: Change) -> bool:
        """Whether notes may tell of a first review or approval that was not seen, and counts."""
        memory = self._memory
        if change.number in memory.settled or change.number in self._settled:
            return False
        # A page of changes may begin with those that the one before it ended with.
        if change.updated_at in (memory.read.get(change.number), self._read.get(change.number)):
            return False
        return change.merged_at is None or change.merged_at >= self._counts_from

    def _reviews(self, change: Change) -> Iterator[Observation]:
        """The first review and the first approval, if there are."""
        self._notes_read += 1
        pages = self._client.notes(self._unit.key, change.number)
        notes = (mapping.note(entry) for page in pages for entry in page)
        found = reviews_of(change, notes, self._config.is_ignored)
        self._read[change.number] = change.updated_at
        if found.complete or change.merged_at:
            self._settled.add(change.number)
        for family, instant in (
            (families.TIME_TO_FIRST_REVIEW, found.reviewed_at),
            (families.TIME_TO_APPROVAL, found.approved_at),
        ):
            if instant is not None and instant >= self._counts_from:
                yield self._time(family, change, instant)

    def _remember(self) -> None:
        """Spare later polls what this one has read."""
        memory = self._memory
        if len(memory.settled) + len(memory.read) >= _MOST_REMEMBERED:
            memory.settled, memory.read = set(), {}
        memory.settled |= self._settled
        memory.read |= self._read

    def _time(self, family: Family, change: Change, instant: datetime) -> Observation:
        return Observation(family, (), change.after(instant), str(change.number))

    # -- what is open --------------------------------------------------------------------------

    def _update_open(self) -> None:
        """Have the open merge requests as they are now; the list is read anew now and then.

        One that is deleted vanishes from it, and nothing else tells.
        """
        memory = self._memory
        for change in self._changed:
            self._note_open(memory.opened, change)
        wait = self._config.rediscover_interval_seconds
        if memory.listed_at and 0 <= (self._now - memory.listed_at).total_seconds() < wait:
            return
        try:
            memory.opened = self._list_open()
        except SourceError as error:
            if news.is_refused(error):
                raise
            self._failure = self._failure or error
            return
        memory.listed_at = self._now

    def _list_open(self) -> dict[int, tuple[ChangeState, datetime]]:
        """The open merge requests, without those that cannot be understood."""
        opened: dict[int, tuple[ChangeState, datetime]] = {}
        for page in self._client.open(self._unit.key):
            for entry in page:
                with suppress(BadAnswer):
                    self._note_open(opened, mapping.change(entry, unknown=self._unknown))
        return opened

    def _note_open(self, opened: dict[int, tuple[ChangeState, datetime]], change: Change) -> None:
        if change.state in ENDED:
            opened.pop(change.number, None)
        else:
            opened[change.number] = (change.state, change.created_at)
