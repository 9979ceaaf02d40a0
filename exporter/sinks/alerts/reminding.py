"""What channels that forget are told again and again: every alert that people take for standing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from exporter.config.alerts import AlertsSettings
from exporter.model.alerts import Alert, AlertState, NoticeKind, Told
from exporter.sinks.alerts.book import Book
from exporter.sinks.alerts.telling import FLAPPING, Owed, Voice
from exporter.sinks.alerts.watch import Scene


class Reminders:
    """The alerts that people were told of and of whose end they were not, for each Alertmanager.

    An end is none before it is told: it may wait for quiet hours, or be one of many of an alert that flaps.
    """

    def __init__(self, settings: AlertsSettings, voices: Iterable[Voice], book: Book) -> None:
        self._channels = {name for name, one in settings.channels.items() if one.alertmanager.url is not None}
        self._voices = list(voices)
        self._book = book
        self._rendered: dict[str, tuple[AlertState, Alert]] = {}

    def standing(self, scene: Scene) -> dict[str, tuple[Alert, ...]]:
        """``channel -> alerts``; those that tell of a moment are not among them."""
        rendered: dict[str, tuple[AlertState, Alert]] = {}
        found: dict[str, list[Alert]] = {name: [] for name in self._channels}
        for voice in self._voices:
            rule = voice.watch.rule
            channels = self._channels if rule.channels is None else self._channels.intersection(rule.channels)
            for state in self._book.of_rule(rule.name) if channels and rule.resolved else ():
                if state.told is Told.FIRING:
                    rendered[state.fingerprint] = state, self._alert(voice, state, scene)
                    for name in channels:
                        found[name].append(rendered[state.fingerprint][1])
        self._rendered = rendered
        return {name: tuple(alerts) for name, alerts in found.items()}

    def _alert(self, voice: Voice, state: AlertState, scene: Scene) -> Alert:
        """*state* as one that stands; rendered only when it changed, since that reads the store."""
        known, alert = self._rendered.get(state.fingerprint, (None, None))
        if alert is not None and known == state:
            return alert
        word = FLAPPING if state.flapping_told else "firing"
        standing = replace(state, resolved_at=None)
        return voice.alert(Owed(standing, NoticeKind.REPEATED, word, scene.now), scene)
