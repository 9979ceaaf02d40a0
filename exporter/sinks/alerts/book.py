"""Which alerts stand: kept in memory as they are in the store, with what is still to be saved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from exporter.model.alerts import AlertState, Told


@dataclass(frozen=True, slots=True)
class Subject:
    """What an alert is about: ``identity`` tells it from others of its rule, ``labels`` are for people."""

    identity: tuple[str, ...]
    labels: Mapping[str, str]
    about: Mapping[str, Any]
    since: datetime


def fingerprint(rule: str, identity: Iterable[str]) -> str:
    """What tells one alert from all others."""
    parts = "\0".join([rule, *identity]).encode("utf-8", "surrogatepass")
    return hashlib.sha256(parts).hexdigest()[:32]


class Book:
    """All alerts, by rule and fingerprint. ``changed`` and ``gone`` are what the store does not know yet."""

    def __init__(self, states: Iterable[AlertState], changes: int, window: timedelta) -> None:
        self._states: dict[str, dict[str, AlertState]] = {}
        self._most_changes = changes
        self._window = window
        for state in states:
            self._states.setdefault(state.rule, {})[state.fingerprint] = state
        self.changed: dict[str, AlertState] = {}
        self.gone: set[str] = set()

    def saved(self) -> None:
        """The store knows everything now."""
        self.changed, self.gone = {}, set()

    def rules(self) -> list[str]:
        """The rules that have alerts, also ended ones."""
        return list(self._states)

    def of_rule(self, rule: str) -> list[AlertState]:
        """The alerts of *rule*, also ended ones."""
        return list(self._states.get(rule, {}).values())

    def get(self, rule: str, identity: Iterable[str]) -> AlertState | None:
        """The alert about *identity*, if it stands."""
        state = self._states.get(rule, {}).get(fingerprint(rule, identity))
        return state if state and state.stands else None

    def put(self, state: AlertState) -> None:
        """Replace what is known of one alert."""
        known = self._states.setdefault(state.rule, {})
        if known.get(state.fingerprint) != state:
            known[state.fingerprint] = state
            self.changed[state.fingerprint] = state
            self.gone.discard(state.fingerprint)

    def drop(self, state: AlertState) -> None:
        """Forget one alert; nobody is told."""
        self._states.get(state.rule, {}).pop(state.fingerprint, None)
        self.changed.pop(state.fingerprint, None)
        self.gone.add(state.fingerprint)

    def stand(self, rule: str, definition: str, subject: Subject, now: datetime) -> None:
        """*subject* is wrong, as of *now*; one that stands already only learns what is newer about it."""
        mark = fingerprint(rule, subject.identity)
        state = self._states.get(rule, {}).get(mark)
        if state and state.stands:
            self.put(replace(state, about=dict(subject.about), labels=dict(subject.labels)))
            return
        fresh = AlertState(
            fingerprint=mark,
            rule=rule,
            definition=definition,
            labels=dict(subject.labels),
            about=dict(subject.about),
            started_at=subject.since,
            changed_at=now,
        )
        if state:
            fresh = replace(
                fresh,
                told=state.told,
                told_at=state.told_at,
                flips=state.flips,
                flapping=state.flapping,
                flapping_told=state.flapping_told,
            )
        fresh = self._flipped(fresh, now)
        if len(fresh.flips) > self._most_changes and not fresh.flapping:
            fresh = replace(fresh, flapping=True, flapping_told=False)
        self.put(fresh)

    def mend(self, state: AlertState, now: datetime, *, silently: bool, **about: Any) -> None:
        """What *state* tells of is well again, as of *now*; *silently*: nobody is to be told."""
        ended = replace(state, resolved_at=now, changed_at=now, about={**state.about, **about})
        if silently and state.told is Told.FIRING:
            ended = replace(ended, told=Told.RESOLVED)
        self.put(self._flipped(ended, now))

    def settle(self, now: datetime) -> None:
        """Let go of what is over: flapping that came to rest, and ends that people know or need not know."""
        for states in list(self._states.values()):
            for state in list(states.values()):
                if not state.flips or now - state.flips[-1] < self._window:
                    continue
                if state.flapping:
                    state = replace(state, flapping=False, flapping_told=False)
                    self.put(state)
                if not state.stands and state.told is not Told.FIRING:
                    self.drop(state)

    def _flipped(self, state: AlertState, now: datetime) -> AlertState:
        recent = [flip for flip in state.flips if now - flip < self._window]
        return replace(state, flips=(*recent[-2 * self._most_changes :], now))
