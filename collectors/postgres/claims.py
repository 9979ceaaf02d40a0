"""Which query file shows a series, where several of them feed one family."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable, Mapping, Sequence

from exporter.contract import Page
from exporter.families import Family, Labels, Sample

# Why a series is left out.
DUPLICATE, LIMIT = "duplicate", "limit"


class Claims:
    """The first file that shows a series has it until it no longer does; thread-safe.

    Within one file, the page itself keeps the first of equals.
    """

    def __init__(self, shared: Iterable[Family], page: Page) -> None:
        self._page = page
        self._lock = threading.Lock()
        self._owners: dict[Family, dict[Labels, str]] = {family: {} for family in shared}

    def take_over(self, other: Claims, units: Container[str]) -> None:
        """Leave to *units* what they had by *other*, before a reload: it is still shown."""
        with other._lock:
            before = {family: dict(owners) for family, owners in other._owners.items()}
        with self._lock:
            for family, owners in self._owners.items():
                had = before.get(family, {})
                owners.update({labels: unit for labels, unit in had.items() if unit in units})

    def hold(self, unit: str, samples: Mapping[Family, Sequence[Sample]]) -> None:
        """Give *unit*, which shows *samples* already, those of them that nobody has."""
        with self._lock:
            for family, owners in self._owners.items():
                for sample in samples.get(family, ()):
                    owners.setdefault(sample.labels, unit)

    def settle(self, unit: str, samples: Mapping[Family, Sequence[Sample]]) -> dict[Family, Sequence[Sample]]:
        """*samples* without the series that other units show; these are counted."""
        settled = dict(samples)
        with self._lock:
            for family, owners in self._owners.items():
                mine = {sample.labels for sample in samples.get(family, ())}
                for labels in [labels for labels, owner in owners.items() if owner == unit]:
                    if labels not in mine:
                        del owners[labels]
                taken = [
                    sample
                    for sample in samples.get(family, ())
                    if owners.setdefault(sample.labels, unit) != unit
                ]
                if taken:
                    lost = {sample.labels for sample in taken}
                    settled[family] = [sample for sample in samples[family] if sample.labels not in lost]
                    self._page.note_dropped(family, DUPLICATE, taken)
        return settled
