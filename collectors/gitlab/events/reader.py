"""One poll of one project or user: the pages of its events, as far as they go, as one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from collectors._http import Answer, NotThere
from collectors._raw import elements
from collectors.gitlab.events.client import EventsClient
from collectors.gitlab.events.cursor import Cursor
from collectors.gitlab.events.mapping import Happening, Instance, happening
from exporter.contract import Batch, Trouble, Unit, UnitTrouble
from exporter.errors import BadAnswer, SourceError, Unauthorized, UnitUnavailable
from exporter.model.events import Event

PAGES_PER_POLL = 10


@dataclass(slots=True)
class _Poll:
    """What one poll has read: ``entries`` are all, ``found`` those to be told, ``bad`` what none can read."""

    earliest: datetime
    wanted: Callable[[Happening], bool]
    read: Callable[[bytes, object], Happening]
    pages: int = 0
    entries: int = 0
    found: dict[str, Event] = field(default_factory=dict)
    bad: list[BadAnswer] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        """Add one page; what is no event is left out, or it would hold up all others for ever."""
        for raw, value in zip(elements(answer.raw), answer.body, strict=True):
            self.entries += 1
            try:
                one = self.read(raw, value)
            except BadAnswer as error:
                self.bad.append(error)
                continue
            if one.created_at >= self.earliest and self.wanted(one):
                self.found[one.event.id] = one.event
        self.pages += 1


@dataclass(frozen=True, slots=True)
class EventReader:
    """Reads lists of events.

    ``memory`` is how long told events are remembered, ``unknown`` where unknown words are reported.
    """

    client: EventsClient
    instance: Instance
    memory: timedelta
    unknown: Callable[[str], None]

    def read(
        self,
        unit: Unit,
        owner: str,
        cursor: Cursor,
        *,
        floor: datetime,
        now: datetime,
        wanted: Callable[[Happening], bool],
    ) -> Batch:
        """What happened in, or was done by, *owner*; bounded, with ``more`` if there are further pages.

        Pages that came before one failed are kept: of a source that fails now and then, a long list would
        otherwise never be read to its end.
        """
        cursor = cursor.at_work(floor, now)
        until = now + self.memory

        def read(raw: bytes, value: object) -> Happening:
            return happening(raw, value, self.instance, remember_until=until, unknown=self.unknown)

        poll = _Poll(cursor.earliest(floor, now, self.memory), wanted, read)
        more, failure = False, None
        try:
            more = self._read_pages(owner, cursor, poll)
        except NotThere as error:
            raise _unavailable(error, owner) from error
        except SourceError as error:
            if isinstance(error, Unauthorized) or not poll.pages:
                raise
            failure = error
        went_on = cursor.page > 1
        cursor = replace(cursor, page=cursor.page + max(0, poll.pages - 1))
        if not more and failure is None:
            cursor = cursor.done()
            # Nothing left where something was: the pages have moved. All are to be read once more.
            more = went_on and not poll.entries
            if more or poll.bad:
                cursor = replace(cursor, whole_at=None)
        return Batch(
            cursor=str(cursor),
            events=tuple(poll.found.values()),
            more=more,
            failure=failure,
            trouble=_trouble(unit, poll),
        )

    def _read_pages(self, owner: str, cursor: Cursor, poll: _Poll) -> bool:
        """Read as many pages as one poll may; whether there are more."""
        assert cursor.after is not None  # noqa: S101
        for answer in self.client.events(owner, cursor.after, cursor.page):
            poll.add(answer)
            if poll.pages >= PAGES_PER_POLL and answer.next_url:
                return True
        return False


def _trouble(unit: Unit, poll: _Poll) -> UnitTrouble | None:
    """What could not be read, to be said once."""
    if not poll.bad:
        return None
    detail = f"some events could not be read, and are tried again: {poll.bad[0]}"
    return UnitTrouble(unit.name, Trouble.BAD_DATA, detail)


def _unavailable(error: NotThere, owner: str) -> UnitUnavailable:
    """What a 403 or 404 means for one project or user."""
    kind = owner.partition("/")[0].removesuffix("s")
    if error.status == 404:
        return UnitUnavailable(f"GitLab says 404: the {kind} is deleted, or hidden", Trouble.NOT_FOUND)
    return UnitUnavailable(
        f"GitLab says 403: this token may not read the events of the {kind}", Trouble.FORBIDDEN
    )
