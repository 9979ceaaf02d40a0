"""Events put into a store by another process than the exporter's, as its replica would: load in any size."""

from __future__ import annotations

import itertools
import json
from types import TracebackType
from typing import Self

from exporter.clock import SystemClock
from exporter.contract import Batch, Unit
from exporter.model.events import RUNS, Event
from exporter.store.sql import SqlStore

SOURCE = "/feed"


class Feed:
    """Tells events of some projects, each with a number that grows; a context manager that ends it.

    The sinks must have subscribed: an exporter has started on that store.
    """

    def __init__(self, store: str, projects: int = 5) -> None:
        self._store = SqlStore(store)
        self._clock = SystemClock()
        self._numbers = itertools.count(1)
        self._keys = [f"feed-{number}" for number in range(projects)]
        units = [Unit(key, key) for key in self._keys]
        stored = self._store.register("feed", units, backfill_days=0, now=self._clock.now())
        self._units = itertools.cycle([unit.id for unit in stored])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.close()

    def tell(self, events: int, size: int = 1_000, *, batch: int = 500) -> list[str]:
        """Save so many events of about *size* bytes, *batch* in a transaction; their ids, in order."""
        told: list[str] = []
        while len(told) < events:
            made = [self._event(size) for _ in range(min(batch, events - len(told)))]
            self._store.save(next(self._units), Batch(events=tuple(made)), self._clock.now())
            told += [event.id for event in made]
        return told

    def _event(self, size: int) -> Event:
        number = next(self._numbers)
        return Event(
            stream=RUNS,
            id=f"feed/{number}",
            source=SOURCE,
            type="feed.told",
            subject=str(number),
            time=self._clock.now(),
            key=self._keys[number % len(self._keys)],
            data=json.dumps({"number": number, "filler": "x" * size}).encode(),
            number=number,
        )
