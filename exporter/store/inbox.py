"""The inbox: hooks that are acknowledged, until what they say is saved; and which ones came before."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.hooks import Hook
from exporter.store.statements import chunks, made_once
from exporter.store.tables import hooks, hooks_seen

REMEMBERED = timedelta(hours=25)
"""How long a hook is known, so that a repetition is no news; senders repeat for a day at most."""
REMEMBERED_AT_MOST = 2_000_000
"""How many hooks are known, give or take those of ten minutes: 140 MB of SQLite; the oldest go first."""
_FORGOTTEN_AT_ONCE = 5_000
_REMOVED_AT_ONCE = 100  # whoever acknowledges has to wait for it
_DIGEST_BYTES = 16
_REMEMBER = made_once(
    lambda insert: insert.on_conflict_do_nothing().returning(hooks_seen.c.digest), hooks_seen
)
_Connecting = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True)
class Arrived:
    """A hook that *collector* found authentic; ``digest`` is what its repetitions have, too."""

    collector: str
    digest: bytes
    hook: Hook

    @cached_property
    def size(self) -> int:
        """Its bytes in the queue, nearly."""
        return len(self.hook.body) + sum(len(name) + len(value) for name, value in self.hook.headers.items())


@dataclass(frozen=True, slots=True)
class Waiting:
    """A hook in the queue; ``tries`` is how often it could not be read."""

    number: int
    digest: bytes
    hook: Hook
    tries: int


class Queued(NamedTuple):
    """How much waits: hooks, their bytes, and when the oldest of them came."""

    hooks: int
    size: int
    oldest: datetime | None


def digest_of(collector: str, hook: Hook, hook_id: str) -> bytes:
    """What tells *hook* from all others of *collector*: its id, or its body if it has none."""
    told = b"id:" + hook_id.encode("utf-8", "surrogateescape") if hook_id else b"body:" + hook.body
    return hashlib.blake2b(collector.encode() + b"\0" + told, digest_size=_DIGEST_BYTES).digest()


class Inbox:
    """The queue of hooks in a database, in the order in which they came; any thread may call.

    ``bell`` is set whenever this process adds some: whoever reads them waits for that, and looks now and then
    for those of other processes. *alone* connects for a single statement.
    """

    def __init__(
        self,
        read: _Connecting,
        write: _Connecting,
        alone: _Connecting | None = None,
        tidy: Callable[[], None] = lambda: None,
    ) -> None:
        self._read = read
        self._write = write
        self._alone = alone or write
        self.tidy = tidy
        self.bell = threading.Event()

    def add(self, arrived: Sequence[Arrived]) -> list[bool]:
        """Keep those of *arrived* that are new, all or none; which of them are."""
        # In one order, or two processes with the same hooks would wait for each other.
        seen = [{"digest": one.digest, "seen_at": one.hook.received_at} for one in arrived]
        seen.sort(key=itemgetter("digest"))
        new = []
        with self._write() as connection:
            unknown = set(connection.execute(_REMEMBER(connection), seen).scalars())
            for one in arrived:
                new.append(one.digest in unknown)
                unknown.discard(one.digest)
            rows = [_row(one) for one, is_new in zip(arrived, new, strict=True) if is_new]
            if rows:
                connection.execute(sa.insert(hooks), rows)
        if rows:
            self.bell.set()
        return new

    def read(self, collector: str, now: datetime, *, limit: int, size: int) -> list[Waiting]:
        """The oldest hooks for *collector* that are due: at most *limit*, and one or at most *size* bytes."""
        due = (hooks.c.collector == collector, hooks.c.due_at <= now)
        with self._read() as connection:
            found = connection.execute(
                sa.select(hooks.c.number, hooks.c.size).where(*due).order_by(hooks.c.number).limit(limit)
            ).all()
            numbers: list[int] = []
            for row in found:
                size -= row.size
                if numbers and size < 0:
                    break
                numbers.append(row.number)
            return [
                _waiting(row)
                for chunk in chunks(numbers)
                for row in connection.execute(
                    sa.select(hooks).where(hooks.c.number.in_(chunk)).order_by(hooks.c.number)
                )
            ]

    def remove(self, numbers: Collection[int], forgotten: Collection[bytes] = ()) -> None:
        """Take out *numbers*, which are done; a repetition of those *forgotten* is to be read once more."""
        for digests in chunks(forgotten):
            with self._alone() as connection:
                connection.execute(sa.delete(hooks_seen).where(hooks_seen.c.digest.in_(digests)))
        for chunk in chunks(numbers, _REMOVED_AT_ONCE):
            with self._alone() as connection:
                connection.execute(sa.delete(hooks).where(hooks.c.number.in_(chunk)))

    def postpone(self, number: int, due_at: datetime) -> None:
        """Have a hook that could not be read tried again at *due_at*."""
        with self._alone() as connection:
            connection.execute(
                sa.update(hooks)
                .where(hooks.c.number == number)
                .values(due_at=due_at, tries=hooks.c.tries + 1)
            )

    def queued(self) -> dict[str, Queued]:
        """``collector -> what waits for it``; a collector for which nothing waits is not there."""
        count = sa.select(
            hooks.c.collector, sa.func.count(), sa.func.sum(hooks.c.size), sa.func.min(hooks.c.received_at)
        ).group_by(hooks.c.collector)
        with self._read() as connection:
            rows = connection.execute(count).all()
        return {collector: Queued(number, int(size), oldest) for collector, number, size, oldest in rows}

    def discard(self, collectors: Collection[str], before: datetime) -> int:
        """Delete what came before *before* for none of *collectors*: nobody will read it. Returns hooks."""
        gone = (hooks.c.collector.not_in(collectors), hooks.c.received_at < before)
        with self._read() as connection:
            numbers = connection.execute(sa.select(hooks.c.number).where(*gone)).scalars().all()
        self.remove(numbers)
        return len(numbers)

    def forget(self, now: datetime) -> int:
        """Forget the hooks that nobody repeats any more, and the oldest of too many, in parts; how many."""
        seen_at = hooks_seen.c.seen_at
        # By their time, not by counting: two processes that do this at once forget none in vain.
        too_many = sa.select(seen_at).order_by(seen_at.desc()).offset(REMEMBERED_AT_MOST).limit(1)
        with self._read() as connection:
            last = connection.execute(too_many).scalar()
        before = now - REMEMBERED if last is None else max(last, now - REMEMBERED)
        old = sa.select(hooks_seen.c.digest).where(seen_at <= before).limit(_FORGOTTEN_AT_ONCE)
        forgotten = 0
        while True:
            with self._read() as connection:
                digests = connection.execute(old).scalars().all()
            if not digests:
                return forgotten
            for chunk in chunks(digests):
                with self._alone() as connection:
                    connection.execute(sa.delete(hooks_seen).where(hooks_seen.c.digest.in_(chunk)))
            forgotten += len(digests)


def _row(arrived: Arrived) -> Mapping[str, Any]:
    hook = arrived.hook
    return {
        "collector": arrived.collector,
        "digest": arrived.digest,
        "received_at": hook.received_at,
        "due_at": hook.received_at,
        "tries": 0,
        "size": arrived.size,
        # As ASCII: what came may hold halves of characters, which no database takes.
        "headers": json.dumps(dict(hook.headers)),
        "body": hook.body,
    }


def _waiting(row: sa.Row[Any]) -> Waiting:
    hook = Hook(json.loads(row.headers), bytes(row.body), row.received_at)
    return Waiting(row.number, bytes(row.digest), hook, row.tries)
