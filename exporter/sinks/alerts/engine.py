"""All rules at work: changes and looks go in, messages come out; saves nothing by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any

from exporter.config.alerts import AlertsSettings
from exporter.errors import ConfigError, Problem
from exporter.model.alerts import Alert, AlertState, Notice
from exporter.sinks.alerts.book import Book
from exporter.sinks.alerts.branchwatches import BranchBrokenWatch
from exporter.sinks.alerts.changes import Change
from exporter.sinks.alerts.jobwatches import JobFailingWatch, QueueSlowWatch
from exporter.sinks.alerts.lookwatches import (
    CollectorFailingWatch,
    RowsWatch,
    RunnersOfflineWatch,
    RunStuckWatch,
    SinkFailingWatch,
)
from exporter.sinks.alerts.reminding import Reminders
from exporter.sinks.alerts.runwatches import RunFailedWatch
from exporter.sinks.alerts.telling import Teller
from exporter.sinks.alerts.templates import TemplateFault
from exporter.sinks.alerts.watch import Scene, Watch

_WATCHES: dict[str, type[Watch[Any]]] = {
    "run_failed": RunFailedWatch,
    "branch_broken": BranchBrokenWatch,
    "run_stuck": RunStuckWatch,
    "queue_slow": QueueSlowWatch,
    "job_failing": JobFailingWatch,
    "runners_offline": RunnersOfflineWatch,
    "collector_failing": CollectorFailingWatch,
    "sink_failing": SinkFailingWatch,
    "rows": RowsWatch,
}
_HOUSEKEEPING = timedelta(minutes=1)


class Engine:
    """The rules of *settings* on the alerts *states*.

    Alerts of rules that are gone, or look for something else now, end silently.

    Raises:
        ConfigError: a template is none; with the key of each.
    """

    def __init__(self, settings: AlertsSettings, states: Iterable[AlertState], zone: tzinfo) -> None:
        self._settings = settings
        flapping = settings.flapping
        self.book = Book(states, flapping.changes, timedelta(seconds=flapping.window_seconds))
        self.watches = [_WATCHES[rule.kind](rule, self.book) for rule in settings.effective_rules]
        self._forget_strangers()
        self.teller = _teller(settings, self.watches, self.book, zone)
        self._reminders = Reminders(settings, self.teller.voices.values(), self.book)
        self._kept_house_at: datetime | None = None

    def _forget_strangers(self) -> None:
        definitions = {watch.rule.name: watch.definition for watch in self.watches}
        for rule in self.book.rules():
            for state in self.book.of_rule(rule):
                if definitions.get(rule) != state.definition:
                    self.book.drop(state)

    def begin(self, scene: Scene, *, first: bool) -> None:
        """Let every rule compare what stands with what is stored; *first*: nobody ever watched this store."""
        for watch in self.watches:
            watch.begin(scene, first=first)

    def take(self, changes: Sequence[Change], scene: Scene) -> None:
        """Let every rule hear of *changes*."""
        for change in changes:
            for watch in self.watches:
                watch.change(change, scene)

    def look(self, scene: Scene) -> None:
        """Let every rule look at what no change tells of."""
        for watch in self.watches:
            watch.look(scene)
        self.book.settle(scene.now)

    def keep_house(self, scene: Scene) -> None:
        """Let every rule forget what no longer exists, once a minute."""
        if self._kept_house_at is None or scene.now - self._kept_house_at >= _HOUSEKEEPING:
            self._kept_house_at = scene.now
            for watch in self.watches:
                watch.keep_house(scene)

    def tell(self, scene: Scene) -> list[Notice]:
        """The messages that are due now."""
        return self.teller.tell(scene)

    def reminders(self, scene: Scene) -> dict[str, tuple[Alert, ...]]:
        """``channel -> alerts`` that people take for standing, of the channels that forget."""
        return self._reminders.standing(scene)

    def standing(self) -> dict[tuple[str, str], int]:
        """``(rule, severity) -> alerts`` that stand, of all rules."""
        return {(watch.rule.name, watch.rule.severity.value): len(watch.standing()) for watch in self.watches}


def _teller(settings: AlertsSettings, watches: Sequence[Watch[Any]], book: Book, zone: tzinfo) -> Teller:
    """Raises `ConfigError` for all templates that are wrong."""
    problems = []
    for index, watch in enumerate(watches):
        try:
            Teller(settings, [watch], book, zone)
        except TemplateFault as error:
            key, _, message = str(error).partition(": ")
            problems.append(Problem(f"alerts.rules.{index}.{key}", f"the template is wrong: {message}"))
    if problems:
        raise ConfigError(problems)
    return Teller(settings, watches, book, zone)
