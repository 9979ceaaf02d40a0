"""Which units a collector has: those that it discovered, and those that hooks made known."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from exporter.clock import Clock
from exporter.contract import Batch, Collector, Discovery, Unit, UnitTrouble
from exporter.hooks import AcceptsHooks
from exporter.rounds.backoff import Backoff
from exporter.rounds.visits import UnitState
from exporter.store.base import Store, StoredUnit

log = logging.getLogger(__name__)

_ADOPTED_DAYS = 3650  # what somebody reports counts, however late
_MOST_ADOPTED = 10_000  # units that one who knows the secret can make, by mistake or not: each has series


@dataclass(frozen=True, slots=True)
class Entered:
    """What a discovery changed: all units there are now, those that are new, and those that vanished."""

    stored: list[StoredUnit]
    new: list[UnitState]
    gone: list[UnitState]


class Units:
    """``key -> state`` of every unit that a collector polls; thread-safe."""

    def __init__(self, collector: Collector[Any], store: Store, clock: Clock) -> None:
        self.adopts = isinstance(collector, AcceptsHooks) and collector.adopts
        self._collector = collector
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._registering = threading.Lock()
        self._states: dict[str, UnitState] = {}
        self._discovery: Discovery | None = None
        self._told_full = False

    def states(self) -> list[UnitState]:
        """Those of all units."""
        with self._lock:
            return list(self._states.values())

    def keys(self) -> set[str]:
        """Those of all units."""
        with self._lock:
            return set(self._states)

    def state(self, key: str) -> UnitState | None:
        """How the polling of the unit *key* stands, if it is one of ours."""
        return self._states.get(key)

    def has(self, state: UnitState) -> bool:
        """Whether *state* is still that of its unit."""
        return self._states.get(state.stored.unit.key) is state

    @property
    def all_in_lanes(self) -> bool:
        """Whether every unit has a lane; false as long as none is known."""
        units = self._discovery.units if self._discovery else ()
        return bool(units) and all(unit.lane for unit in units)

    # -- discovered ----------------------------------------------------------------------------

    @contextmanager
    def registration(self) -> Iterator[None]:
        """A block in which nobody else registers units of this collector."""
        # The store's turn first: who adopts may have it already, and would wait for us as we for them.
        with self._store.together(), self._registering:
            yield

    def enter(self, discovery: Discovery) -> Entered:
        """Make the discovered units ours, and those that were adopted before; the vanished ones go.

        To be called in a block of :meth:`registration`.
        """
        self._log_new_troubles(discovery)
        stored = self._store.register(
            self._collector.target,
            discovery.units,
            backfill_days=self._collector.backfill_days,
            now=self._clock.now(),
            keep=self.adopts,
        )
        new = [
            UnitState(unit, Backoff(self._collector.schedule_of(unit.unit)))
            for unit in stored
            if unit.unit.key not in self._states
        ]
        gone = self._replace(stored, new)
        self._discovery = discovery
        for state in gone:
            log.info(
                "project vanished",
                extra={"collector": self._collector.name, "project": state.stored.unit.name},
            )
        return Entered(stored, new, gone)

    def _replace(self, stored: list[StoredUnit], new: list[UnitState]) -> list[UnitState]:
        """Have the units *stored*, of which some are *new*; returns those that vanished."""
        with self._lock:
            before = self._states
            states = {**before, **{state.stored.unit.key: state for state in new}}
            for unit in stored:
                states[unit.unit.key].stored = unit
            # In one go: a poll that ends now must find its unit, or it would be the unit's last.
            self._states = {unit.unit.key: states[unit.unit.key] for unit in stored}
            return [state for key, state in before.items() if key not in self._states]

    # -- troubles ------------------------------------------------------------------------------

    def troubles(self) -> list[UnitTrouble]:
        """Every unit that needs the operator's eye."""
        found = list(self._discovery.troubles) if self._discovery else []
        return found + [state.trouble for state in self.states() if state.trouble]

    def _log_new_troubles(self, discovery: Discovery) -> None:
        """Say once what each named but unreadable project lacks."""
        known = set(self._discovery.troubles) if self._discovery else set()
        for trouble in discovery.troubles:
            if trouble not in known:
                self.log_trouble(trouble)

    def log_trouble(self, trouble: UnitTrouble) -> None:
        """Say what is the matter with a unit."""
        log.warning(
            "project needs attention",
            extra={
                "collector": self._collector.name,
                "project": trouble.name,
                "reason": trouble.reason.value,
                "detail": trouble.detail,
            },
        )

    # -- adopted -------------------------------------------------------------------------------

    def adopt(self, unit: Unit) -> UnitState | None:
        """Have *unit* from now on, though nobody discovered it; ``None`` if there are too many."""
        if self._is_full(unit):
            return None
        with self.registration():
            stored = self._store.register(
                self._collector.target, [unit], backfill_days=_ADOPTED_DAYS, now=self._clock.now(), keep=True
            )[0]
            # It has no history to wait for: what it is adopted for is news already, for sinks and alerts too.
            self._store.save(stored.id, Batch(), self._clock.now())
            state = UnitState(stored, Backoff(self._collector.schedule_of(unit)))
            with self._lock:
                state = self._states.setdefault(unit.key, state)
        log.info("project adopted", extra={"collector": self._collector.name, "project": unit.name})
        return state

    def _is_full(self, unit: Unit) -> bool:
        """Whether *unit* would be one too many; says so once."""
        if len(self._states) < _MOST_ADOPTED:
            return False
        level = logging.DEBUG if self._told_full else logging.WARNING
        self._told_full = True
        log.log(
            level,
            "project not adopted: there are as many as may be; are their names made up of what changes?",
            extra={"collector": self._collector.name, "project": unit.name, "most": _MOST_ADOPTED},
        )
        return True
