"""Exact quantiles of how long runs took and waited, with as few of these values read as can be."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from exporter.model.history import Quantiles
from exporter.store.asking import COVERING, Question
from exporter.store.tables import runs

ALL: sa.ColumnElement[Any] = sa.literal_column("0")
"""The group of all runs together."""
_SHARES = (0.5, 0.95)
_MANY = 10_000  # runs of which a sample is looked at first
_SAMPLED = 17  # one of so many run ids; no divisor of the steps in which databases number
_SIGMAS = 4.0  # how far off the sample may be, in standard deviations
_AT_ONCE = 250  # rows
_VALUES = (runs.c.duration_seconds, runs.c.queue_seconds)


class Both(NamedTuple):
    """The quantiles of how long runs took, and of how long they waited."""

    duration: Quantiles = Quantiles()
    queue: Quantiles = Quantiles()


class _Sought(NamedTuple):
    """One quantile, and between which two values it most likely is."""

    value: int  # which of _VALUES
    share: float
    low: float
    high: float


def read_quantiles(
    question: Question, group: sa.ColumnElement[Any], timed: int, queued: int
) -> dict[Any, Both]:
    """``group -> quantiles`` of the runs: *timed* of all took and *queued* waited a time that is known.

    A group in which none did may be left out.
    """
    if question.connection.dialect.name == "postgresql":
        return _of_database(question, group)
    if group is ALL and timed + queued > _MANY and not question.is_selective:
        found = _of_sample(question, (timed, queued))
        if found is not None:
            return {0: found}
    return _of_values(question, group)


def rank(share: float, count: int) -> int:
    """The place among *count* sorted values of the least one that this *share* does not exceed."""
    return max(0, math.ceil(share * count) - 1)


def _of_database(question: Question, group: sa.ColumnElement[Any]) -> dict[Any, Both]:
    """The same, found by PostgreSQL: its percentile_disc is the same value."""
    found = [sa.func.percentile_disc(share).within_group(value) for value in _VALUES for share in _SHARES]
    rows = question.connection.execute(
        sa.select(group.label("part"), *found).where(*question.of_runs()).group_by(sa.text("1"))
    )
    return {part: Both(Quantiles(*values[:2]), Quantiles(*values[2:])) for part, *values in rows}


def _of_values(question: Question, group: sa.ColumnElement[Any]) -> dict[Any, Both]:
    """The same, found by reading every value."""
    known = sa.or_(*(value.is_not(None) for value in _VALUES))
    return {part: Both(*map(_quantiles, values)) for part, values in _read(question, group, known).items()}


def _quantiles(values: Sequence[float]) -> Quantiles:
    """Those of sorted *values*."""
    return Quantiles(*(values[rank(share, len(values))] for share in _SHARES)) if values else Quantiles()


def _of_sample(question: Question, counts: tuple[int, int]) -> Both | None:
    """The same of all runs, of which only a tenth is read; ``None`` if the sample was no help.

    A sample says between which two values each quantile most likely is. The database counts those below, and
    only those between are read: if the quantile is not among them after all, that is noticed.
    """
    sample = _read(question, ALL, runs.c.run_id % _SAMPLED == 0)[0]
    sought = [
        _Sought(value, share, *_span(known, share)) for value, known in enumerate(sample) for share in _SHARES
    ]
    below = [sa.func.count().filter(_VALUES[one.value] < one.low) for one in sought]
    less = _ask(question, below).one()
    between = sa.or_(*(_VALUES[one.value].between(one.low, one.high) for one in sought))
    read = _read(question, ALL, between)[0]
    try:
        found = [
            _placed(one, counts[one.value], read[one.value], number)
            for one, number in zip(sought, less, strict=True)
        ]
    except LookupError:
        return None
    return Both(Quantiles(*found[:2]), Quantiles(*found[2:]))


def _placed(one: _Sought, count: int, values: Sequence[float], less: int) -> float | None:
    """The quantile of *count* values, of which *less* are below its span; *values* are sorted.

    Raises:
        LookupError: it is not in its span.
    """
    if not count:
        return None
    place = rank(one.share, count) - less
    if place < 0:
        raise LookupError
    return values[bisect_left(values, one.low) : bisect_right(values, one.high)][place]


def _span(sample: Sequence[float], share: float) -> tuple[float, float]:
    """Between which two values of the sorted *sample* the quantile of that *share* of all most likely is."""
    spread = _SIGMAS * math.sqrt(share * (1 - share) * len(sample)) + 1
    low, high = math.floor(share * len(sample) - spread), math.ceil(share * len(sample) + spread)
    return (
        sample[low] if low >= 0 else -math.inf,
        sample[high] if high < len(sample) else math.inf,
    )


def _read(
    question: Question, group: sa.ColumnElement[Any], condition: sa.ColumnElement[bool]
) -> dict[Any, tuple[list[float], list[float]]]:
    """``group -> every known value of both`` of the runs that fulfil *condition*, sorted."""
    read: dict[Any, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    # In parts so small that no garbage is collected meanwhile: that takes as long as to read all.
    for rows in _ask(question, [group, *_VALUES], condition).partitions(_AT_ONCE):
        for part, duration, queue in rows:
            durations, queues = read[part]
            if duration is not None:
                durations.append(duration)
            if queue is not None:
                queues.append(queue)
    for values in read.values():
        for column in values:
            column.sort()
    return read


def _ask(
    question: Question, columns: Sequence[sa.ColumnElement[Any]], *conditions: sa.ColumnElement[bool]
) -> sa.Result[*tuple[Any, ...]]:
    find = sa.select(*columns).select_from(runs).with_hint(runs, COVERING, "sqlite")
    return question.connection.execute(find.where(*question.of_runs(), *conditions))
