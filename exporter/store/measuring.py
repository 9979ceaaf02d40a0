"""Runs in numbers: counts, averages and exact quantiles, all together or in groups."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from exporter.model.history import Quantiles, Summary
from exporter.model.runs import Status
from exporter.store.asking import Conditions, Question
from exporter.store.periods import start_of
from exporter.store.tables import periods, runs

LARGEST_SAMPLE = 100_000  # runs of which quantiles are told: so many values are read and sorted
# SQLite has no statistics of our data, and would rather go through the table, row by row.
COVERING = "INDEXED BY runs_of_unit"


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
        self.counts[Status(status)] += int(count)
        self.timed += int(timed)
        self.seconds += seconds or 0.0
        self.queued += int(queued)
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


def measure(question: Question, group: sa.ColumnElement[Any]) -> dict[Any, Numbers]:
    """``group -> its numbers`` of the runs; groups without runs are left out."""
    found: dict[Any, Numbers] = defaultdict(Numbers)
    _add(found, question, _sums(question.of_runs(), group))
    return _with_values(found, question, group)


def measure_fast(question: Question, *, by_unit: bool = False) -> dict[Any, Numbers]:
    """``unit id -> its numbers`` of the runs, or ``0 -> the numbers of all``; units without are left out.

    Whole periods are taken as they are, and only the runs before and after them are looked at.
    """
    group: sa.ColumnElement[Any] = runs.c.unit_id if by_unit else sa.literal_column("0")
    first, last = question.whole_periods()
    if question.has_refs or (first is not None and last is not None and first >= last):
        return measure(question, group)
    found: dict[Any, Numbers] = defaultdict(Numbers)
    _add(found, question, _period_sums(question, first, last, by_unit=by_unit))
    if first is not None:
        _add(found, question, _sums(question.of_runs(until=start_of(first)), group))
    if last is not None:
        _add(found, question, _sums(question.of_runs(since=start_of(last)), group))
    return _with_values(found, question, group)


def count_at_most(question: Question, enough: int) -> int:
    """How many runs can be asked about: not fewer than there are; no longer true above *enough*."""
    # A row of periods is one run at least: so many need not all be read.
    some = sa.select(periods.c.runs).where(*question.of_periods()).limit(enough + 1).subquery()
    return int(question.connection.execute(sa.select(sa.func.sum(some.c.runs))).scalar() or 0)


def _sums(conditions: Conditions, group: sa.ColumnElement[Any]) -> sa.Select[Any]:
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
        .with_hint(runs, COVERING, "sqlite")
        .where(*conditions)
        .group_by(sa.text("1"), runs.c.status)
    )


def _period_sums(question: Question, first: int | None, last: int | None, *, by_unit: bool) -> sa.Select[Any]:
    """The same of the periods from *first* to before *last*."""
    amounts = (periods.c.runs, periods.c.timed, periods.c.seconds, periods.c.queued, periods.c.queue_seconds)
    conditions = question.of_periods()
    if first is not None:
        conditions.append(periods.c.period >= first)
    if last is not None:
        conditions.append(periods.c.period < last)
    group = periods.c.unit_id if by_unit else sa.literal_column("0")
    return (
        sa.select(group.label("part"), periods.c.status, *map(sa.func.sum, amounts))
        .where(*conditions)
        .group_by(sa.text("1"), periods.c.status)
    )


def _add(found: dict[Any, Numbers], question: Question, sums: sa.Select[Any]) -> None:
    """Add the rows of *sums*: group, status, runs; how many have a duration, their sum; and of queues."""
    for group, *numbers in question.connection.execute(sums):
        found[group].add(*numbers)


def _with_values(
    found: dict[Any, Numbers], question: Question, group: sa.ColumnElement[Any]
) -> dict[Any, Numbers]:
    """*found* with every duration and time in queue of the runs, unless they are too many."""
    if sum(sum(numbers.counts.values()) for numbers in found.values()) > LARGEST_SAMPLE:
        return found
    rows = question.connection.execute(
        sa.select(group, runs.c.duration_seconds, runs.c.queue_seconds)
        .with_hint(runs, COVERING, "sqlite")
        .where(
            *question.of_runs(),
            sa.or_(runs.c.duration_seconds.is_not(None), runs.c.queue_seconds.is_not(None)),
        )
    )
    for part, duration, queue in rows:
        numbers = found[part]
        if duration is not None:
            numbers.durations.append(duration)
        if queue is not None:
            numbers.queues.append(queue)
    return found
