"""Adding to persisted totals: counters, and histograms with their buckets."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.counting import Increment
from exporter.families import Family, Labels
from exporter.store.statements import chunks, replace_rows
from exporter.store.tables import totals


@dataclass(slots=True)
class _Amount:
    """What is to be added to one total."""

    value: float = 0.0
    buckets: dict[float, int] = field(default_factory=dict)


class Tally:
    """What one batch adds to the totals of one unit, written at once at the end."""

    def __init__(self, connection: Connection, unit_id: int) -> None:
        self._connection = connection
        self._unit_id = unit_id
        self._added: dict[tuple[Family, Labels], _Amount] = {}

    def add(self, increments: Iterable[Increment]) -> None:
        """Note *increments* for `write`."""
        for family, labels, value in increments:
            amount = self._added.setdefault((family, labels), _Amount())
            amount.value += value
            if family.kind == "histogram":
                index = bisect_left(family.buckets, value)
                bound = family.buckets[index] if index < len(family.buckets) else float("inf")
                amount.buckets[bound] = amount.buckets.get(bound, 0) + 1

    def give_up(self, given_up: Sequence[tuple[Family, Labels]]) -> int:
        """Delete stored totals; returns how many there were."""
        deleted = 0
        by_family: dict[str, list[str]] = {}
        for family, labels in given_up:
            by_family.setdefault(family.name, []).append(_written(labels))
        for name, all_labels in sorted(by_family.items()):
            for chunk in chunks(sorted(all_labels)):
                deleted += self._connection.execute(
                    sa.delete(totals).where(
                        totals.c.unit_id == self._unit_id,
                        totals.c.family == name,
                        totals.c.labels.in_(chunk),
                    )
                ).rowcount
        return deleted

    def write(self) -> None:
        """Add what was noted to the stored totals; the unit's lock makes read-then-write safe."""
        added = {(family.name, _written(labels)): amount for (family, labels), amount in self._added.items()}
        self._add_stored(added)
        replace_rows(
            self._connection,
            totals,
            [
                dict(
                    unit_id=self._unit_id,
                    family=name,
                    labels=labels,
                    value=amount.value,
                    buckets=json.dumps(amount.buckets) if amount.buckets else None,
                )
                for (name, labels), amount in sorted(added.items())
            ],
        )

    def _add_stored(self, added: dict[tuple[str, str], _Amount]) -> None:
        """Add the stored totals to those in *added*, keyed by family name and labels as JSON."""
        families = sorted({name for name, _ in added})
        for chunk in chunks(sorted({labels for _, labels in added})):
            stored = self._connection.execute(
                sa.select(totals.c.family, totals.c.labels, totals.c.value, totals.c.buckets).where(
                    totals.c.unit_id == self._unit_id,
                    totals.c.family.in_(families),
                    totals.c.labels.in_(chunk),
                )
            )
            for row in stored:
                if amount := added.get((row.family, row.labels)):
                    amount.value += row.value
                    for bound, count in (json.loads(row.buckets) if row.buckets else {}).items():
                        amount.buckets[float(bound)] = amount.buckets.get(float(bound), 0) + count


def _written(labels: Labels) -> str:
    return json.dumps(labels, ensure_ascii=False)
