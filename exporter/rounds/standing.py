"""How the rounds of one collector stand: what its gauges and readiness tell."""

from __future__ import annotations

import threading
from typing import Any

from exporter.clock import Clock, timestamp
from exporter.contract import Collector
from exporter.rounds.units import Units
from exporter.rounds.visits import UnitState
from exporter.selfmetrics import SelfMetrics


class Standing:
    """What is known of a collector's rounds; thread-safe.

    ``halted`` says why nothing is polled until the credentials change, ``discovery_error`` what the last
    discovery failed with; ``None`` if neither is so. ``answered`` is true once a poll brought anything. No
    gauge tells any more of rounds that are not ``alive``, since a reload put others in their place.
    """

    def __init__(self, collector: Collector[Any], units: Units, metrics: SelfMetrics, clock: Clock) -> None:
        self.alive = True
        self.halted: str | None = None
        self.discovered = False
        self.discovery_error: str | None = None
        self.answered = False
        self._collector = collector
        self._name = collector.name
        self._units = units
        self._metrics = metrics
        self._clock = clock
        self._lock = threading.Lock()
        self._left_in_round: set[str] = set()
        self._busy_seconds = 0.0

    def entered(self, keys: set[str], new: set[str]) -> None:
        """The units are *keys* from now on; the round is not complete without those that are *new*."""
        with self._lock:
            self._left_in_round = (self._left_in_round & keys) | new

    def show_units(self) -> None:
        """Show how many units there are."""
        if self.alive:
            self._metrics.projects.labels(self._name).set(len(self._units.states()))

    def succeeded(self) -> None:
        """A poll brought an answer that was saved."""
        self.answered = True
        if self.alive:
            self._metrics.last_success.labels(self._name).set(timestamp(self._clock.now()))

    def show_backoff(self) -> None:
        """Show the wait of the unit that is polled most often: with news anywhere, it is the base."""
        if self.alive:
            waits = (state.wait for state in self._units.states() if state.last_polled >= 0)
            self._metrics.work.backoff(min(waits, default=self._collector.schedule.base), self._name)

    def visited(self, state: UnitState, seconds: float) -> None:
        """A poll ended. A round is complete when every unit was visited since the last one was."""
        with self._lock:
            self._busy_seconds += seconds
            self._left_in_round.discard(state.stored.unit.key)
            complete = not self._left_in_round
            if complete:
                busy, self._busy_seconds = self._busy_seconds, 0.0
                self._left_in_round = self._units.keys()
        if complete and self.alive:
            self._metrics.collector_duration.labels(self._name).set(busy)
        self.show_success()

    def show_success(self) -> None:
        """Show whether all is well."""
        if self.alive:
            failing = (
                self.halted or self.discovery_error or any(state.error for state in self._units.states())
            )
            self._metrics.collector_success.labels(self._name).set(0 if failing else 1)

    def not_ready(self) -> str | None:
        """Why the first round is not complete, or ``None`` when it is."""
        if self.halted:
            return f"{self._name}: {self.halted}"
        noun = self._collector.unit_noun
        if not self.discovered:
            return f"{self._name}: {self.discovery_error or f'looking for {noun}'}"
        states = self._units.states()
        left = sum(not state.visited for state in states)
        if left:
            return f"{self._name}: first round: {len(states) - left} of {len(states)} {noun} read"
        if states and not self.answered:
            return f"{self._name}: none of the {noun} could be read yet"
        return None
