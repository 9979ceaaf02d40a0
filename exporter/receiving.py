"""All that webhooks need, put together: the inbox, its intake, the endpoint, and who reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from exporter.config.hooks import HooksSettings
from exporter.hooks import AcceptsHooks
from exporter.parts import Parts
from exporter.rounds.reading import HookReader
from exporter.rounds.round import CollectorRounds
from exporter.store.intake import Intake, Room
from exporter.web.hooks import HookDoor

log = logging.getLogger(__name__)

_Accepting = Mapping[str, Sequence[tuple[str, AcceptsHooks]]]


class Receiving:
    """Webhooks of a running service, from the acknowledgement to the page; only made if they are enabled.

    Raises:
        StoreError: the inbox cannot be used.
    """

    def __init__(
        self,
        settings: HooksSettings,
        parts: Parts,
        rounds: Callable[[], Mapping[str, CollectorRounds]],
        wake: Callable[[str, str], None],
    ) -> None:
        self._parts = parts
        self._accepting: _Accepting = {}
        inbox, metrics, clock = parts.store.inbox(), parts.metrics.hooks, parts.clock
        room = Room(settings.max_waiting, settings.max_waiting_bytes)
        self._intake = Intake(inbox, room, metrics, clock, lambda: self._names())
        self._reader = HookReader(inbox, rounds, wake, metrics, clock)
        self.door = HookDoor(lambda name: self._accepting.get(name, ()), self._intake, metrics, clock)
        self.renew()

    def renew(self) -> None:
        """Accept hooks for the collectors as they are configured now."""
        found: dict[str, list[tuple[str, AcceptsHooks]]] = {}
        for name, collector in self._parts.collectors.items():
            if isinstance(collector, AcceptsHooks) and collector.accepts_hooks():
                found.setdefault(collector.hook_name, []).append((name, collector))
                self._parts.metrics.hooks.begin(name)
        if not found:
            log.warning(
                "hooks are enabled, but no collector has a secret for them; all are answered with 404"
            )
        self._accepting = found

    def _names(self) -> list[str]:
        return [name for accepting in self._accepting.values() for name, _ in accepting]

    def start(self) -> None:
        """Begin to keep hooks; they are read from when this process polls."""
        self._intake.start()

    def lead(self, leading: bool) -> None:
        """This process polls from now on, or does so no more; returns at once."""
        self._reader.lead(leading)

    def stop_reading(self, seconds: float) -> bool:
        """End reading; true if what was being read is saved within *seconds*."""
        return self._reader.stop(seconds)

    def stop(self, seconds: float) -> bool:
        """End keeping, once no web server asks for it any more; true if that was done within *seconds*."""
        return self._intake.stop(seconds)
