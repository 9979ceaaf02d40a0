"""Runs in numbers: counts, averages and exact quantiles, all together or in groups."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from exporter.model.history import Quantiles, Summary
from exporter.model.runs import Status
from exporter.store.tables import runs

LARGEST_SAMPLE = 100_000  # runs of which quantiles are told: so many values are read and sorted


@dataclass(slots=True)
class Numbers:
    """What is known of one group of runs; ``durations`` and ``queues`` are every value, if they were read."""

    counts: dict[Status, int] = field(default_factory=lambda: defaultdict(int))
    timed: int = 0
    seconds: float = 0.0
    queued: int = 0
    queue_seconds: float = 0.0
    durations: list[float] = field(default_factory=list)
    queues: list[float] = field(default_factory=list)

    def add(
        self,
        status: str,
        count: int,
        timed: int,
        seconds: float | None,
        queued: int,
        queue_seconds: float | None,
    ) -> None:
        """Add what is known of some runs of one status."""
        self.counts[Status(status)] += count
        self.timed += timed
        self.seconds += seconds or 0.0
        self.queued += queued
        self.queue_seconds += queue_seconds or 0.0

    def summary(self) -> Summary:
        """All of it."""
        return Summary(
            counts=dict(self.counts),
            avg_duration=self.seconds / self.timed if self.timed else None,
            avg_queue_duration=self.queue_seconds / self.queued if self.queued else None,
            duration=quantiles(self.durations),
            queue_duration=quantiles(self.queues),
        )


def quantiles(values: list[float]) -> Quantiles:
    """The exact ones of *values*, which are sorted: the least value that this share does not exceed."""
    values.sort()
    if not values:
        return Quantiles()
    return Quantiles(*(values[max(0, math.ceil(share * len(values)) - 1)] for share in (0.5, 0.95)))


def measure(
    connection: Connection, conditions: Sequence[sa.ColumnElement[bool]], group: sa.ColumnElement[Any]
) -> dict[Any, Numbers]:
    """``group -> its numbers`` of the runs that fulfil *conditions*; groups without runs are left out."""
    found: dict[Any, Numbers] = defaultdict(Numbers)
    add_sums(found, connection.execute(_sums(conditions, group)))
    if sum(sum(numbers.counts.values()) for numbers in found.values()) <= LARGEST_SAMPLE:
        add_values(connection, found, conditions, group)
    return found


def _sums(
    conditions: Sequence[sa.ColumnElement[bool]], group: sa.ColumnElement[Any]
) -> sa.Select[tuple[Any, ...]]:
    return (
        sa.select(
            group.label("part"),
            runs.c.status,
            sa.func.count(),
            sa.func.count(runs.c.duration_seconds),
            sa.func.sum(runs.c.duration_seconds),
            sa.func.count(runs.c.queue_seconds),
            sa.func.sum(runs.c.queue_seconds),
        )
        .where(*conditions)
        .group_by(sa.text("1"), runs.c.status)
    )


def add_sums(found: dict[Any, Numbers], rows: Iterable[Any]) -> None:
    """Add *rows* of (group, status, runs, durations, their sum, queues, their sum)."""
    for group, *numbers in rows:
        found[group].add(*numbers)


def add_values(
    connection: Connection,
    found: dict[Any, Numbers],
    conditions: Sequence[sa.ColumnElement[bool]],
    group: sa.ColumnElement[Any],
) -> None:
    """Read every duration and time in queue of the runs into *found*."""
    rows = connection.execute(
        sa.select(group, runs.c.duration_seconds, runs.c.queue_seconds).where(
            *conditions, sa.or_(runs.c.duration_seconds.is_not(None), runs.c.queue_seconds.is_not(None))
        )
    )
    for part, duration, queue in rows:
        numbers = found[part]
        if duration is not None:
            numbers.durations.append(duration)
        if queue is not None:
            numbers.queues.append(queue)
