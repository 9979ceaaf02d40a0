"""Reading a list in the order of changes: page after page from the last time seen, and what to read again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from collectors._failures import concerns_all
from collectors.gitlab import values
from collectors.gitlab.reader import OVERLAP
from exporter.contract import Trouble, Unit, UnitTrouble
from exporter.errors import BadAnswer, SourceError, Unauthorized, UnitUnavailable

log = logging.getLogger(__name__)

PAGES_OF_NEWS = 5  # of one poll: bounds memory, and what a kill loses
UNREAD_PER_POLL = 5
_PAGES_OF_ONE_INSTANT = 200
_MOST_UNREAD = 1_000
C = TypeVar("C")


def pages_of_changes(
    ask: Callable[[datetime, int], Sequence[Any]], after: datetime, size: int
) -> Iterator[tuple[Sequence[Any], bool]]:
    """Pages of a list that was changed at *after* or later, and whether more may follow each.

    The list is ordered by ``updated_at`` and moves while it is read: instead of turning its pages, it is
    asked for anew from the last time seen. Only entries of one and the same instant, more than a page of
    them, are read by page. *ask* gives one page from an instant on, of *size* entries unless it is the last.
    """
    page = 1
    while True:
        entries = ask(after, page)
        more = len(entries) >= size
        yield entries, more
        if not more:
            return
        seen = max(changed_at(entry) for entry in entries)
        after, page = (seen, 1) if seen > after else (after, page + 1)
        if page > _PAGES_OF_ONE_INSTANT:
            raise BadAnswer(f"more than {_PAGES_OF_ONE_INSTANT} pages changed at one instant")


def changed_at(entry: Any) -> datetime:
    """When an entry of such a list was changed last."""
    return values.instant(values.json_object(entry, "list entry"), "updated_at")


def read_from(
    updated_at: datetime | None, counts_from: datetime, now: datetime, *, catching_up: bool
) -> datetime:
    """From when on to ask for changes, *updated_at* being the newest one read.

    Some time before it: a row becomes visible when its transaction is through. One that ran ahead (by
    GitLab's clock) is held back. While *catching_up*, exactly from there: a poll that is bounded would
    otherwise not get further if very many entries were changed in that time.
    """
    if updated_at is None:
        return counts_from
    return updated_at if catching_up else min(updated_at, now) - OVERLAP


def still_unread(before: Sequence[int], unread: Collection[int]) -> tuple[int, ...]:
    """The *unread* numbers in the order in which to try them again, *before* being that of this poll.

    Those that were just tried come last, so that all have their turn. Of very many the ones that wait the
    longest are given up: a source of which nothing can be understood must not fill the cursor.
    """
    tried, waiting = before[:UNREAD_PER_POLL], before[UNREAD_PER_POLL:]
    new = sorted(set(unread).difference(before))
    return tuple(one for one in (*waiting, *new, *tried) if one in unread)[-_MOST_UNREAD:]


class Unread:
    """Entries of a list that cannot be read: they are put off so that others go on, and tried again later.

    *before* are those of the last poll, and *noun* is what people call one. ``trouble`` tells of the last one
    that was put off.
    """

    def __init__(self, unit: Unit, noun: str, before: Sequence[int]) -> None:
        self.trouble: UnitTrouble | None = None
        self._unit = unit
        self._noun = noun
        self._before = before
        self._numbers = set(before)

    def __contains__(self, number: int) -> bool:
        return number in self._numbers

    @property
    def left(self) -> tuple[int, ...]:
        """Those that are still unread, in the order in which to try them again."""
        return still_unread(self._before, self._numbers)

    def put_off(self, number: int, error: SourceError) -> None:
        """Leave *number* to a later poll."""
        self._numbers.add(number)
        detail = f"{self._noun} {number} is put off: {error}"
        self.trouble = UnitTrouble(self._unit.name, Trouble.BAD_DATA, detail)

    def discard(self, number: int) -> None:
        """It is read, or gone."""
        self._numbers.discard(number)

    def try_again(self, read: Callable[[int], None]) -> SourceError | None:
        """Have *read* try some that were put off; returns the failure that any other call would meet, too.

        Raises:
            SourceError: nothing of the project may be read.
        """
        for number in self._before[:UNREAD_PER_POLL]:
            try:
                read(number)
                self.discard(number)
            except SourceError as error:
                if is_refused(error):
                    raise
                if concerns_all(error):
                    return error
                self.put_off(number, error)
        return None


def is_refused(error: SourceError) -> bool:
    """Whether *error* says that nothing of the project may be read: not even what was read may be kept."""
    return isinstance(error, (Unauthorized, UnitUnavailable))


def stored(kind: TypeAdapter[C], text: str | None, beginning: C) -> C:
    """The cursor in *text*; *beginning* without one, or if it cannot be read."""
    if text is None:
        return beginning
    try:
        return kind.validate_json(text)
    except ValidationError:
        log.warning("a stored cursor could not be read; reading the project anew")
        return beginning
