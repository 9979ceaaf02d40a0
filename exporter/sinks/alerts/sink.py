"""The sink that tells people: hears of every change of runs, and looks around from time to time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from exporter.clock import timestamp
from exporter.config.alerts import AlertsSettings
from exporter.model.alerts import Alert, AlertState, Notice
from exporter.model.events import RUNS, Entry
from exporter.sinkmetrics import Delivery
from exporter.sinks.alerts.changes import Reader
from exporter.sinks.alerts.engine import Engine
from exporter.sinks.alerts.watch import Scene
from exporter.sinks.base import Sink, SinkContext

BATCH = 500
_PAUSE_SECONDS = 0.5
_OTHERS_SECONDS = 2.0  # what another process has put in is seen by looking

Reminders = Mapping[str, Sequence[Alert]]
"""``channel -> alerts`` that people take for standing."""


class Sender(Protocol):
    """What sends the messages that the rules have queued."""

    def run(self, stopping: threading.Event) -> None:
        """Send until *stopping* is set; whatever fails is tried again there."""
        ...

    def remind(self, standing: Reminders) -> None:
        """From now on, tell each channel that forgets of *standing* from time to time."""
        ...

    def try_out(self) -> Iterator[str]:
        """Lines for ``check --online``, as of a sink."""
        ...


class AlertsSink(Sink):
    """Watches the rules. Alerts, messages and the position in the outbox are saved together, or not at all.

    Raises:
        ConfigError: a template is wrong.
    """

    name = "alerts"
    streams = frozenset({RUNS})

    def __init__(self, settings: AlertsSettings, context: SinkContext, sender: Sender | None = None) -> None:
        self._settings = settings
        self._context = context
        self._sender = sender
        Engine(settings, (), context.zone)

    def run(self, stopping: threading.Event) -> None:
        """Watch, and send what is to be told, until *stopping* is set."""
        with self._sending():
            try:
                Watching(self._settings, self._context, self._remind).run(stopping)
            finally:
                # What another process finds from now on, this one does not know.
                self._context.metrics.alerts({})
                self._remind({})

    def try_out(self) -> Iterator[str]:
        return self._sender.try_out() if self._sender else iter(())

    def _remind(self, standing: Reminders) -> None:
        if self._sender is not None:
            self._sender.remind(standing)

    @contextmanager
    def _sending(self) -> Iterator[None]:
        """Send what waits while the block lasts."""
        if self._sender is None:
            yield
            return
        ending = threading.Event()
        thread = threading.Thread(
            target=self._sender.run, args=(ending,), name="sink-alerts-sender", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()


class Watching:
    """One turn of keeping the alerts: from what the store knows at its beginning until it ends or fails."""

    def __init__(
        self,
        settings: AlertsSettings,
        context: SinkContext,
        remind: Callable[[Reminders], None] = lambda _standing: None,
    ) -> None:
        self._settings = settings
        self._context = context
        self._remind = remind
        self._store = context.store
        self._turn, states = self._store.alerting.begin()
        self._position = self._store.outbox.position(AlertsSink.name)
        self.engine = Engine(settings, states, context.zone)
        self._reader = Reader()
        self._begun = False
        self._first = not self._store.alerting.begun()
        self._looked_at = self._read_at = float("-inf")

    def run(self, stopping: threading.Event) -> None:
        """Watch until *stopping* is set."""
        with self._store.outbox.bell() as bell:
            while not stopping.is_set():
                heard = bell.is_set()
                bell.clear()
                more = self.step(heard=heard)
                if not more:
                    bell.wait(min(_PAUSE_SECONDS, self._settings.evaluation_interval_seconds))

    def step(self, *, heard: bool = True) -> bool:
        """Read a batch, look around if it is time, and tell what is due; whether more is waiting.

        Nothing is told while more is waiting: what broke may be mended in there.
        """
        elapsed = self._context.clock.monotonic()
        entries: list[Entry] = []
        if heard or elapsed - self._read_at >= _OTHERS_SECONDS:
            self._read_at = elapsed
            entries = self._store.outbox.read(AlertsSink.name, self._position, BATCH)
        more = len(entries) == BATCH
        look = not more and elapsed - self._looked_at >= self._settings.evaluation_interval_seconds
        if look:
            self._looked_at = elapsed
        now = self._context.clock.now()
        notices: list[Notice] = []
        if not self._begun or entries or look or (not more and self.engine.teller.due(now)):
            with self._store.alerting.records() as records:
                scene = Scene(now, records, self._store.providers(), self._context.shown)
                if not self._begun:
                    self.engine.begin(scene, first=self._first)
                self._take(entries, scene)
                if look:
                    self.engine.look(scene)
                    self.engine.keep_house(scene)
                if not more:
                    notices = self.engine.tell(scene)
                if look or notices:
                    # Before the notices are there: after an end was sent, nothing may say that it stands.
                    self._remind(self.engine.reminders(scene))
        self._save(entries, notices)
        self._begun = True
        if look:
            self._report()
        return more

    def _take(self, entries: Sequence[Entry], scene: Scene) -> None:
        not_before = scene.now - timedelta(seconds=self._settings.max_event_age_seconds)
        changes = [self._reader.read(entry.event, scene.records, not_before) for entry in entries]
        self.engine.take([change for change in changes if change], scene)

    def _save(self, entries: Sequence[Entry], notices: Sequence[Notice]) -> None:
        book = self.engine.book
        if not (self._first or entries or notices or book.changed or book.gone):
            return
        position = entries[-1].position if entries else None
        changed: list[AlertState] = list(book.changed.values())
        self._store.alerting.save(self._turn, changed, book.gone, notices, AlertsSink.name, position)
        book.saved()
        self._first = False
        if position is not None:
            self._position = position
            self._context.metrics.delivered(AlertsSink.name, Delivery.SUCCESS, len(entries))
        self._context.metrics.alerts(self.engine.standing())

    def _report(self) -> None:
        metrics = self._context.metrics
        metrics.alerts(self.engine.standing())
        metrics.waiting(AlertsSink.name, self._store.outbox.backlog(AlertsSink.name))
        metrics.succeeded(AlertsSink.name, timestamp(self._context.clock.now()))
