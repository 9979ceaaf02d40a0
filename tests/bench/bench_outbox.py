"""How fast events go through the outbox, against bare sqlite3, what a duplicate costs, and its memory.

Run it as ``PYTHONPATH=. python tests/bench/bench_outbox.py [--ids 10000000] [--postgresql-ids 1000000]``.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from exporter.contract import Batch, Unit
from exporter.model.events import Event
from exporter.store.sql import SqlStore
from tests.support.measured import Scraped
from tests.support.postgres import PostgresServer

START = datetime(2026, 3, 1, tzinfo=UTC)
EVENTS = 30_000
PAGE = 100
READ = 1_000
CLAIMED = 5_000
UNITS = 10
DATA = json.dumps(
    {
        "id": 4_711,
        "project_id": 7,
        "action_name": "pushed to",
        "target_id": None,
        "author": {"id": 5, "username": "ann", "web_url": "https://gitlab.example.com/ann"},
        "push_data": {"commit_count": 1, "ref": "main", "commit_to": "a" * 40, "commit_title": "Fix it " * 9},
    }
).encode()


def events(first: int, count: int, *, days: int = 3) -> list[Event]:
    """*count* events of 500 projects, 100 an hour, numbered from *first* on."""
    return [
        Event(
            stream="gitlab",
            id=f"gitlab.example.com/{number}",
            source=f"https://gitlab.example.com/{number % 500}",
            type="com.gitlab.pushed",
            subject=f"projects/{number % 500}",
            time=START,
            key=str(number % 500),
            data=DATA,
            number=number,
            remember_until=START + timedelta(days=days, hours=number // 100 % 24),
        )
        for number in range(first, first + count)
    ]


def micros(what: Callable[[], object], count: int = EVENTS) -> float:
    """Microseconds that each of *count* takes."""
    started = time.perf_counter()
    what()
    return (time.perf_counter() - started) / count * 1e6


class Desk:
    """A store with the units of one target, and a sink."""

    def __init__(self, url: str) -> None:
        self.store = SqlStore(url)
        wanted = [Unit(str(key), f"group/{key}") for key in range(UNITS)]
        self.units = [one.id for one in self.store.register("gitlab", wanted, backfill_days=0, now=START)]
        self.store.outbox.subscribe("kafka", ["gitlab"])

    def save(self, some: Sequence[Event]) -> int:
        """Save *some* by pages; returns how many were new."""
        new = 0
        for number, first in enumerate(range(0, len(some), PAGE)):
            batch = Batch(cursor="day", events=tuple(some[first : first + PAGE]))
            new += self.store.save(self.units[number % UNITS], batch, START).new_events
        return new

    def read(self) -> int:
        """Read what waits, as a sink does; returns how many."""
        count, after = 0, self.store.outbox.position("kafka")
        while entries := self.store.outbox.read("kafka", after, READ):
            after, count = entries[-1].position, count + len(entries)
        return count

    def advance(self) -> None:
        """Say that all is delivered, in the steps in which it was read."""
        after = self.store.outbox.position("kafka")
        for position in range(after + READ, after + EVENTS + 1, READ):
            self.store.outbox.advance("kafka", position)


def through(name: str, url: str) -> float:
    """Print what saving, reading and a duplicate cost at *url*; returns microseconds to save a new event."""
    desk = Desk(url)
    some = events(1, EVENTS)
    new = micros(lambda: desk.save(some))
    duplicate = micros(lambda: desk.save(some))
    read = micros(desk.read)
    advance = micros(desk.advance)
    swept = micros(desk.store.outbox.sweep)
    delivery = new + read + advance
    print(
        f"{name}, µs an event, pages of {PAGE}: save new {new:.1f}, read {read:.1f}, advance {advance:.2f},"
        f" sweep {swept:.1f}; together {1e6 / (delivery + swept):,.0f} events/s (target 20,000);"
        f" duplicate {duplicate:.1f} (1/{delivery / duplicate:.1f} of save + read + advance; target 1/10 of a"
        " delivery, to which the broker's part adds)"
    )
    assert desk.save(some) == 0
    desk.store.close()
    return new


def bare(file: Path) -> float:
    """Microseconds for each event when sqlite3 alone writes the same rows, a page in a transaction."""
    Desk(f"sqlite:///{file}").store.close()
    told = [(1, event.number, 493_000) for event in events(1, EVENTS)]
    rows = [
        (None, 1, event.stream, event.id, event.source, event.type, event.subject, 1, event.key, event.data)
        for event in events(1, EVENTS)
    ]

    def write() -> None:
        for first in range(0, EVENTS, PAGE):
            with database:
                database.executemany(
                    "INSERT OR IGNORE INTO told (target_id, number, forget_hour) VALUES (?, ?, ?)",
                    told[first : first + PAGE],
                )
                database.executemany(
                    f"INSERT INTO outbox VALUES ({','.join('?' * 10)})", rows[first : first + PAGE]
                )

    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA synchronous = NORMAL")
        return micros(write)


class Watch:
    """Wraps the transactions that write; remembers the longest."""

    def __init__(self, store: SqlStore) -> None:
        self.longest = 0.0
        store.committing = self._watched

    @contextmanager
    def _watched(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.longest = max(self.longest, time.perf_counter() - started)


def remembered(name: str, url: str, ids: int, size: Callable[[], int]) -> None:
    """Print what *ids* remembered events take, and whether all is quick then."""
    desk = Desk(url)
    desk.save(events(ids + EVENTS, EVENTS))  # what saving takes anyhow
    process, outbox, before = Scraped(name, os.getpid(), 0), desk.store.outbox, size()
    begin, _ = process.megabytes()
    started = time.perf_counter()
    for first in range(0, ids, CLAIMED):
        part = events(first, CLAIMED, days=1 if first < ids // 2 else 30)
        with desk.store._write() as connection:
            outbox.claim(connection, 1, part)
    filled = (time.perf_counter() - started) / ids * 1e6
    megabytes = (size() - before) / 1e6
    new = micros(lambda: desk.save(events(ids, EVENTS)))
    spread = [event for first in range(0, ids, ids // EVENTS) for event in events(first, 1)][:EVENTS]
    duplicate = micros(lambda: desk.save(spread))
    watch = Watch(desk.store)
    nothing = time.perf_counter()
    assert outbox.forget(START) == 0
    nothing = time.perf_counter() - nothing
    started = time.perf_counter()
    forgotten = outbox.forget(START + timedelta(days=2))
    seconds = time.perf_counter() - started
    assert forgotten == ids // 2
    _, most = process.megabytes()
    print(
        f"{name}, {ids:,} ids remembered ({filled:.1f} µs each): {megabytes:,.0f} MB on disk,"
        f" {most - begin:.0f} MB more in this process; then save new {new:.1f} µs, duplicate from all over"
        f" {duplicate:.1f} µs; find nothing to forget {nothing:.1f} s, forget {forgotten:,} {seconds:.1f} s,"
        f" writers wait {watch.longest * 1e3:.0f} ms at most (targets for 10,000,000: 1 GB, 100 MB, 100 ms)"
    )
    desk.store.close()


def sum_of(folder: Path) -> int:
    """Bytes of all files in *folder*."""
    return sum(file.stat().st_size for file in folder.iterdir())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--postgresql-ids", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "ids.db"
        remembered("SQLite", f"sqlite:///{file}", options.ids, lambda: sum_of(folder))
        file.unlink()
        ours, theirs = through("SQLite", f"sqlite:///{folder}/through.db"), bare(folder / "bare.db")
        ratio = ours / theirs
        print(f"save new into SQLite: {ours:.1f} µs, sqlite3 executemany {theirs:.1f}; ratio {ratio:.1f}")
    server = PostgresServer()
    try:
        through("PostgreSQL", server.url)
        server.sql("CREATE DATABASE ids")
        url = server.url.replace("/postgres?", "/ids?")
        size = "SELECT pg_total_relation_size('told')"
        remembered("PostgreSQL", url, options.postgresql_ids, lambda: int(str(server.sql(size, "ids")[0][0])))
    finally:
        server.remove()


if __name__ == "__main__":
    main()
