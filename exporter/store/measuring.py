"""Runs in numbers: counts, averages and exact quantiles, all together or in groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from exporter.model.history import Summary
from exporter.model.runs import Status
from exporter.store.asking import COVERING, Conditions, Question
from exporter.store.periods import SEASON, start_of
from exporter.store.quantiles import ALL, Both, read_quantiles
from exporter.store.tables import periods, runs, seasons

_MOST_VALUES = 100_000  # runs of which quantiles are told: so many values may have to be read and sorted


@dataclass(slots=True)
class Numbers:
    """What is known of one group of runs."""

    counts: dict[Status, int] = field(default_factory=lambda: defaultdict(int))
    timed: int = 0
    seconds: float = 0.0
    queued: int = 0
    queue_seconds: float = 0.0
    quantiles: Both = field(default_factory=Both)

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
            duration=self.quantiles.duration,
            queue_duration=self.quantiles.queue,
        )


def measure(question: Question, group: sa.ColumnElement[Any]) -> dict[Any, Numbers]:
    """``group -> its numbers`` of the runs; groups without runs are left out."""
    found: dict[Any, Numbers] = defaultdict(Numbers)
    _add(found, question, _sums(question.of_runs(), group))
    return _with_quantiles(found, question, group)


def measure_fast(question: Question, *, by_unit: bool = False) -> dict[Any, Numbers]:
    """``unit id -> its numbers`` of the runs, or ``0 -> the numbers of all``; units without are left out.

    Whole seasons and periods are taken as they are, and only the runs before and after are looked at.
    """
    group: sa.ColumnElement[Any] = runs.c.unit_id if by_unit else ALL
    question = _without_end(question)
    first, last = question.whole_periods()
    if question.has_refs or (first is not None and last is not None and first >= last):
        return measure(question, group)
    found: dict[Any, Numbers] = defaultdict(Numbers)
    for sums in _kept_sums(question, first, last, by_unit=by_unit):
        _add(found, question, sums)
    if first is not None:
        _add(found, question, _sums(question.of_runs(until=start_of(first)), group))
    if last is not None:
        _add(found, question, _sums(question.of_runs(since=start_of(last)), group))
    return _with_quantiles(found, question, group)


def _without_end(question: Question) -> Question:
    """The same question, without an end of its time after which there is nothing: "now", most of the time."""
    until = question.wanted.until
    if until is None:
        return question
    newest = question.connection.execute(sa.select(sa.func.max(runs.c.created_at))).scalar_one()
    if newest is not None and newest >= until:
        return question
    return replace(question, wanted=replace(question.wanted, until=None))


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


def _kept_sums(
    question: Question, first: int | None, last: int | None, *, by_unit: bool
) -> Iterator[sa.Select[Any]]:
    """The same of the periods from *first* to before *last*: whole seasons, and the periods beside them."""
    begin = None if first is None else -(-first // SEASON)
    end = None if last is None else last // SEASON
    if question.has_sorts or (begin is not None and end is not None and begin >= end):
        yield _sums_of(periods.c.period, question.of_periods(), first, last, by_unit=by_unit)
        return
    yield _sums_of(seasons.c.season, question.of_seasons(), begin, end, by_unit=by_unit)
    if begin is not None:
        yield _sums_of(periods.c.period, question.of_periods(), first, begin * SEASON, by_unit=by_unit)
    if end is not None:
        yield _sums_of(periods.c.period, question.of_periods(), end * SEASON, last, by_unit=by_unit)


def _sums_of(
    number: sa.Column[int], conditions: Conditions, first: int | None, last: int | None, *, by_unit: bool
) -> sa.Select[Any]:
    """The same of the rows whose *number* is from *first* to before *last*."""
    kept = number.table.c
    within = [] if first is None else [number >= first]
    within += [] if last is None else [number < last]
    amounts = (kept.runs, kept.timed, kept.seconds, kept.queued, kept.queue_seconds)
    group = kept.unit_id if by_unit else ALL
    return (
        sa.select(group.label("part"), kept.status, *map(sa.func.sum, amounts))
        .where(*conditions, *within)
        .group_by(sa.text("1"), kept.status)
    )


def _add(found: dict[Any, Numbers], question: Question, sums: sa.Select[Any]) -> None:
    """Add the rows of *sums*: group, status, runs; how many have a duration, their sum; and of queues."""
    for group, *numbers in question.connection.execute(sums):
        found[group].add(*numbers)


def _with_quantiles(
    found: dict[Any, Numbers], question: Question, group: sa.ColumnElement[Any]
) -> dict[Any, Numbers]:
    """*found* with the quantiles of each group, unless the runs are too many."""
    if sum(sum(numbers.counts.values()) for numbers in found.values()) > _MOST_VALUES:
        return found
    timed, queued = (sum(one.timed for one in found.values()), sum(one.queued for one in found.values()))
    for part, both in read_quantiles(question, group, timed, queued).items():
        found[part].quantiles = both
    return found
