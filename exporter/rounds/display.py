"""What one collector shows of its units: views of the store, never one that is older than what is shown."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.contract import Collector
from exporter.exposition import CollectorPage
from exporter.families import Samples
from exporter.model.views import UnitView
from exporter.store.base import Store

log = logging.getLogger(__name__)

_VIEWS_AT_ONCE = 200  # units read and rendered together at a start, to bound memory


@dataclass(slots=True)
class _Sampled:
    """A unit that is shown as polled: what the store has of it, if it keeps anything, and what was polled."""

    stored: Samples | None
    polled: Samples

    def together(self) -> Samples:
        """Both; a family may have samples of either sort."""
        if not self.stored:
            return self.polled
        families = self.stored.keys() & self.polled.keys()
        both = {family: [*self.stored[family], *self.polled[family]] for family in families}
        return {**self.stored, **self.polled, **both}


class Display:
    """Swaps the blocks of one collector's units; thread-safe.

    Polls, and the follower of what other processes save, show the same units from different threads:
    one that read an older state must not win, since a counter that steps back looks like a restart.
    """

    def __init__(self, collector: Collector[Any], page: CollectorPage, store: Store) -> None:
        self.page = page
        self._collector = collector
        self._store = store
        self._turn = threading.Lock()
        self._alive = True
        self._standing_by = False
        self._versions: dict[int, int] = {}
        self._hidden: set[int] = set()
        self._sampled: dict[int, _Sampled] = {}
        self._inherited = page.entities()

    @property
    def alive(self) -> bool:
        """Whether this display still changes the page; false once another one took it over."""
        return self._alive

    @alive.setter
    def alive(self, value: bool) -> None:
        with self._turn:
            self._alive = value

    def follow(self) -> None:
        """Show what the store has and the page does not: at a start, or saved by another process."""
        with self._turn:
            shown = dict(self._versions)
        versions = self._store.versions(self._collector.target)
        starved = self.page.starved()
        stale = [
            unit_id
            for unit_id, version in versions.items()
            if shown.get(unit_id) != version or str(unit_id) in starved
        ]
        self.show_each(stale)
        for unit_id in shown.keys() - versions.keys():
            self.forget(unit_id)

    def show_each(self, unit_ids: Sequence[int]) -> None:
        """Show units as the store has them now; one that cannot be shown is logged, and the others are."""
        for start in range(0, len(unit_ids), _VIEWS_AT_ONCE):
            for view in self._views(unit_ids[start : start + _VIEWS_AT_ONCE]):
                self._follow_one(view)

    def _views(self, unit_ids: Sequence[int]) -> list[UnitView]:
        return self._store.views(unit_ids, job_state=self._collector.job_state)

    def _follow_one(self, view: UnitView) -> None:
        """Show *view*; one that cannot be shown must not keep the others from it."""
        try:
            self._swap(view)
        except Exception:
            log.exception(
                "project could not be shown",
                extra={"collector": self._collector.name, "project": view.name},
            )
            with self._turn:
                self._versions[view.id] = view.version  # until it changes, trying again is pointless

    def _swap(self, view: UnitView) -> None:
        """Put *view* on the page unless the page has a newer one or the unit is hidden."""
        samples = self._collector.unit_samples(view)
        with self._turn:
            newer = self._versions.get(view.id, -1) > view.version
            if newer or not self._alive or view.id in self._hidden:
                return
            if samples is not None:
                if view.id in self._sampled:
                    self._put(view.id, _Sampled(samples, self._sampled[view.id].polled))
                else:
                    self.page.swap(str(view.id), samples)
            self._versions[view.id] = view.version

    def _put(self, unit_id: int, sampled: _Sampled) -> None:
        """Show *sampled* and remember it, or neither if it cannot be shown."""
        self.page.swap(str(unit_id), sampled.together())
        self._sampled[unit_id] = sampled

    def show(self, unit_id: int) -> None:
        """Show one unit as the store has it now; whatever its collector raises comes through."""
        for view in self._views([unit_id]):
            self._swap(view)

    def show_samples(self, unit_id: int, samples: Samples, current: Callable[[], bool]) -> None:
        """Show *samples* as they are, next to what the store has, if the unit is still *current*."""
        while not self._showed_samples(unit_id, samples, current):
            pass

    def _showed_samples(self, unit_id: int, samples: Samples, current: Callable[[], bool]) -> bool:
        """Whether that is done; if not, what the store had is outdated by now."""
        stored, version = None, None
        if unit_id not in self._sampled:
            for view in self._views([unit_id]):
                stored, version = self._collector.unit_samples(view), view.version
        with self._turn:
            # Asked under the lock: a unit that vanishes now is forgotten after this, not before.
            if not self._alive or self._standing_by or not current():
                return True
            if unit_id in self._sampled:
                stored = self._sampled[unit_id].stored
            elif version is not None:
                if self._versions.get(unit_id, -1) > version:
                    return False
                self._versions[unit_id] = version
            self._put(unit_id, _Sampled(stored, samples))
            return True

    def inherit(self, other: Display) -> None:
        """Take over what was polled for *other*, which showed the same units until now."""
        declared = set(self.page.families)
        with other._turn:
            sampled = dict(other._sampled)
        with self._turn:
            for unit_id, one in sampled.items():
                stored, polled = (
                    {family: samples for family, samples in (part or {}).items() if family in declared}
                    for part in (one.stored, one.polled)
                )
                self._sampled[unit_id] = _Sampled(stored or None, polled)

    def hide(self, unit_id: int) -> None:
        """Expose nothing of a unit until :meth:`unhide`."""
        with self._turn:
            self._hidden.add(unit_id)
        self.forget(unit_id)

    def unhide(self, unit_id: int) -> bool:
        """Let the unit be shown again; true if it was hidden."""
        with self._turn:
            hidden = unit_id in self._hidden
            self._hidden.discard(unit_id)
            return hidden

    def forget(self, unit_id: int) -> None:
        """Expose nothing of a unit for now."""
        with self._turn:
            if self._alive:
                self.page.drop(str(unit_id))
                self._versions.pop(unit_id, None)
                self._sampled.pop(unit_id, None)

    def disown(self, unit_ids: set[int]) -> None:
        """Drop what was on the page before us and is none of *unit_ids*: units of another target, say."""
        with self._turn:
            if self._alive:
                for entity in self._inherited - {str(unit_id) for unit_id in unit_ids}:
                    self.page.drop(entity)
                self._inherited = set()
                for unit_id in self._sampled.keys() - unit_ids:
                    del self._sampled[unit_id]

    def stand_by(self) -> None:
        """Drop what no store keeps: nobody here would refresh it, and old numbers would look alive."""
        with self._turn:
            self._standing_by = True  # polls that are under way end later
            if self._alive:
                for unit_id, sampled in self._sampled.items():
                    self.page.swap(str(unit_id), sampled.stored or {})
            self._sampled.clear()

    def lead(self) -> None:
        """Show again what is polled here."""
        with self._turn:
            self._standing_by = False
