"""An engine with its real scheduler on one store, and sources that answer what a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from exporter.clock import SystemClock
from exporter.contract import Schedule, Unit
from exporter.rendering import Format
from exporter.rounds import scheduler
from exporter.rounds.round import CollectorRounds
from exporter.rounds.scheduler import Engine
from exporter.store.sql import SqlStore
from tests.support.fakes import Source, World
from tests.support.process import PATIENCE

ONE, TWO = Unit("1", "group/app"), Unit("2", "group/lib")
FAST = Schedule(0.02, 0.05, 0.05)


def wait_until(true: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Look again and again until *true*; fail with *what* after *seconds*."""
    end = time.monotonic() + seconds
    never, pause = threading.Event(), 0.005
    while not true():
        assert time.monotonic() < end, f"never came: {what}"
        never.wait(pause)
        pause = min(pause * 1.2, 0.05)


class Service:
    """An engine on one store with fake sources."""

    def __init__(self, url: str, *, capacity: int = 2) -> None:
        self.world = World(clock=SystemClock())
        self.store = SqlStore(url)
        self.engine = Engine(
            self.store,
            self.world.metrics,
            self.world.clock,
            capacity=capacity,
            retention_days=400,
            dead_letter_days=400,
            stopping=self.world.stopping,
        )
        self.stopped = False

    def source(self, name: str = "fake", *units: Unit, **attributes: Any) -> Any:
        """A registered source with *units*, polled every few milliseconds."""
        source: Any = self.world.build(Source, name=name, **attributes)
        source.units = list(units) or [ONE]
        source.timing = FAST
        return source

    def rounds(self, *sources: Any) -> list[CollectorRounds]:
        return [
            CollectorRounds(
                source,
                self.world.exposition.page(source.name, source.families),
                self.store,
                self.world.metrics,
                self.world.clock,
            )
            for source in sources
        ]

    def start(self, *sources: Any) -> None:
        for source in sources:
            self.world.registry.add(source)
        self.engine.adopt(self.rounds(*sources))
        self.engine.start()

    def idle(self, collector: str | None = None) -> bool:
        """Whether nothing runs any more (of *collector*), once all that does had time to end."""
        return all(
            agenda.wait_idle(lambda key: collector in (None, key[0]), PATIENCE)
            for agenda in self.engine._agendas()
        )

    def stop(self) -> bool:
        """End it; whether all that ran came to its end. It gets the time that a busy machine takes."""
        self.stopped = True
        with patch.object(scheduler, "_RELEASE_SECONDS", PATIENCE):
            return self.engine.stop(PATIENCE)

    def text(self) -> str:
        return self.world.registry.render(Format.TEXT).decode()
