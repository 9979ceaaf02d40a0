"""All that webhooks need, put together: the inbox, its intake, the endpoint, and who reads."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from exporter.config.hooks import HooksSettings
from exporter.config.load import Config
from exporter.hooks import AcceptsHooks
from exporter.parts import Parts
from exporter.porter import Porter
from exporter.rounds.reading import HookReader
from exporter.rounds.round import CollectorRounds
from exporter.store.intake import Intake
from exporter.store.room import Room
from exporter.web.hooks import HookDoor

log = logging.getLogger(__name__)

_RELOAD_SECONDS = 10.0


class HookKeeping:
    """The endpoint of the hooks of *parts*' collectors, and the intake that keeps what comes.

    Raises:
        StoreError: the inbox cannot be used.
    """

    def __init__(self, settings: HooksSettings, parts: Parts, *, tidies: bool = True) -> None:
        self._parts = parts
        self._accepting: Mapping[str, Sequence[tuple[str, AcceptsHooks]]] = {}
        self.inbox = parts.store.inbox()
        metrics, clock = parts.metrics.hooks, parts.clock
        room = Room(settings.max_waiting, settings.max_waiting_bytes)
        self._intake = Intake(self.inbox, room, metrics, clock, self._names, tidies=tidies)
        self.door = HookDoor(lambda name: self._accepting.get(name, ()), self._intake, metrics, clock)
        self.renew()

    def renew(self) -> None:
        """Accept hooks for the collectors as they are configured now."""
        found: dict[str, list[tuple[str, AcceptsHooks]]] = {}
        for name, collector in self._parts.collectors.items():
            if isinstance(collector, AcceptsHooks) and collector.accepts_hooks():
                found.setdefault(collector.hook_name, []).append((name, collector))
                self._parts.metrics.hooks.begin(name)
        self._accepting = found

    @property
    def accepts(self) -> bool:
        """Whether there is any collector that has a secret for hooks."""
        return bool(self._accepting)

    def _names(self) -> list[str]:
        return [name for accepting in self._accepting.values() for name, _ in accepting]

    def start(self) -> None:
        """Begin to keep hooks."""
        self._intake.start()

    def stop(self, seconds: float) -> bool:
        """End, once no web server asks for it any more; true if that was done within *seconds*."""
        return self._intake.stop(seconds)


class Receiving:
    """Webhooks of a running service, from the acknowledgement to the page; only made if they are enabled.

    With sockets of their own they are received by another process (:class:`Porter`).
    """

    def __init__(
        self,
        config: Config,
        parts: Parts,
        rounds: Callable[[], Mapping[str, CollectorRounds]],
        wake: Callable[[str, str], None],
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        self._parts = parts
        self._settings = config.settings
        self._keeping = HookKeeping(config.settings.hooks, parts)
        inbox, metrics = self._keeping.inbox, parts.metrics.hooks
        self._reader = HookReader(inbox, rounds, wake, metrics, parts.clock)
        self._porter = Porter(self._for_porter(config), sockets, metrics, inbox.bell) if sockets else None
        self.door = self._keeping.door
        self._warn()

    def _for_porter(self, config: Config) -> Config:
        """What the other process needs of *config*: a service of this start, and whom hooks may be for."""
        accepting = {
            name: block
            for name, block in config.collectors.items()
            if isinstance(self._parts.collectors.get(name), AcceptsHooks)
        }
        return replace(config.running(self._settings), collectors=accepting)

    def _warn(self) -> None:
        if not self._keeping.accepts:
            log.warning("hooks are enabled, but no collector has a secret for them: all get a 404")

    def renew(self, config: Config) -> None:
        """Accept hooks for the collectors as they are configured now, which is in *config*."""
        self._keeping.renew()
        self._warn()
        if self._porter:
            self._porter.reload(self._for_porter(config), _RELOAD_SECONDS)

    def start(self) -> None:
        """Begin to keep hooks; they are read from when this process polls."""
        self._keeping.start()
        if self._porter:
            self._porter.start()

    def lead(self, leading: bool) -> None:
        """This process polls from now on, or does so no more; returns at once."""
        self._reader.lead(leading)

    def stop_receiving(self, seconds: float) -> bool:
        """End the other process, if any; true if it ended within *seconds*."""
        return self._porter is None or self._porter.stop(seconds)

    def stop_reading(self, seconds: float) -> bool:
        """End reading; true if what was being read is saved within *seconds*."""
        return self._reader.stop(seconds)

    def stop(self, seconds: float) -> bool:
        """End keeping, once no web server asks for it any more; true if that was done within *seconds*."""
        return self._keeping.stop(seconds)
