"""From the rows of a query to samples: labels, values, NULLs, and events that count once."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any, TypeVar

from collectors.postgres.cells import label_text, milliseconds, number
from collectors.postgres.claims import LIMIT
from collectors.postgres.families import own_labels
from collectors.postgres.plan import Job
from collectors.postgres.snapshot import Column, Result
from collectors.postgres.spec import Metric, Query
from exporter.contract import Observation, Page
from exporter.families import Columns, Distribution, Family, Labels, Sample, Stamped

N = TypeVar("N", float, int)
_MOST_PROBLEMS = 3
_TRIED = 1000


class MissingColumns(Exception):
    """A query's result lacks columns that its metrics name; the text says which."""


@dataclass(slots=True)
class Yield:
    """What one run of a query gave.

    ``problems`` name rows that were left out, ``bad_rows`` is how many they are; ``nulls`` is how many values
    were left out since they are NULL, and ``surplus`` what exceeds the ``max_series`` of its metric.
    """

    rows: int
    samples: dict[Family, Sequence[Sample]] = field(default_factory=dict)
    surplus: dict[Family, list[Sample]] = field(default_factory=dict)
    observations: list[Observation] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    bad_rows: int = 0
    nulls: int = 0


class Shaper:
    """Makes samples of the rows of one job's queries."""

    def __init__(self, job: Job, families: Mapping[str, Family], zone: str, page: Page) -> None:
        self._job = job
        self._families = families
        self._zone = zone
        self._page = page
        self._last: dict[tuple[int, str], tuple[Labels, ...]] = {}

    def shape(self, query: Query, result: Result) -> Yield:
        """The samples of all metrics of *query*.

        Raises:
            MissingColumns: the result is not what the metrics were written for.
        """
        metrics = [metric for metric in self._job.file.metrics if metric.query is query]
        index = {column.name: position for position, column in enumerate(result.columns)}
        self._check_columns(metrics, index)
        table = _Table(result, index, self._zone)
        readers = [
            _Reader(metric, self._families[metric.name], self._job, table, self._last) for metric in metrics
        ]
        bad = table.bad_rows
        found = Yield(len(result.rows), problems=table.problems, bad_rows=len(bad))
        for reader in readers:
            reader.add_to(found, bad)
        for family, series in found.surplus.items():
            self._page.note_dropped(family, LIMIT, series)
        return found

    def _check_columns(self, metrics: Sequence[Metric], index: Mapping[str, int]) -> None:
        wanted = dict.fromkeys(column for metric in metrics for column in _columns(metric))
        if missing := [column for column in wanted if column not in index]:
            there = ", ".join(index) or "none"
            raise MissingColumns(
                f"the result lacks the column {', '.join(missing)}; it has {there}"
                " (PostgreSQL folds names without quotes to lower case)"
            )


def _columns(metric: Metric) -> list[str]:
    """The columns that *metric* reads."""
    stamp = [metric.timestamp_value] if metric.timestamp_value else []
    return [
        *(column for column, _ in metric.key_labels),
        *metric.values,
        *stamp,
        *(metric.once.key if metric.once else ()),
    ]


class _Table:
    """The result by columns, each converted once; rows with a value that is none are bad for all metrics."""

    def __init__(self, result: Result, index: Mapping[str, int], zone: str) -> None:
        self.rows = len(result.rows)
        self.problems: list[str] = []
        self.bad_rows: set[int] = set()
        self._index = index
        self._columns: tuple[Column, ...] = tuple(result.columns)
        self._rows = result.rows
        self._zone = zone
        self._texts: dict[str, Sequence[str | None]] = {}
        self._labels: dict[str, Sequence[str]] = {}
        self._numbers: dict[str, list[float | None]] = {}

    def texts(self, column: str) -> Sequence[str | None]:
        """The column as PostgreSQL wrote it."""
        if column not in self._texts:
            position = self._index[column]
            self._texts[column] = [row[position] for row in self._rows]
        return self._texts[column]

    def labels(self, column: str) -> Sequence[str]:
        """The column as label values; NULL is empty."""
        if column not in self._labels:
            convert = label_text(self._oid(column))
            texts = self.texts(column)
            if convert is not None:
                self._labels[column] = ["" if text is None else convert(text) for text in texts]
            elif None in texts:
                self._labels[column] = ["" if text is None else text for text in texts]
            else:
                self._labels[column] = _shared(texts)  # type: ignore[arg-type]
        return self._labels[column]

    def numbers(self, column: str) -> list[float | None]:
        """The column as values; NULL is ``None``."""
        if column not in self._numbers:
            self._numbers[column] = self._converted(column, number(self._oid(column), self._zone))
        return self._numbers[column]

    def stamps(self, column: str) -> list[int | None]:
        """The column as times in milliseconds; NULL is ``None``."""
        return self._converted(column, milliseconds(self._oid(column)))

    def _oid(self, column: str) -> int:
        return self._columns[self._index[column]].oid

    def _converted(self, column: str, convert: Callable[[str], N]) -> list[N | None]:
        """The column through *convert*; rows that it refuses are bad."""
        texts = self.texts(column)
        if None not in texts:
            with suppress(ValueError):
                return list(map(convert, texts))  # type: ignore[arg-type] # the usual case, in one go
        found: list[N | None] = []
        for row, text in enumerate(texts):
            try:
                found.append(None if text is None else convert(text))
            except ValueError as error:
                found.append(None)
                self.spoil(row, f"column {column}, row {row + 1}: {error}")
        return found

    def spoil(self, row: int, why: str) -> None:
        """Note that *row* cannot be shown."""
        if row not in self.bad_rows and len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(why)
        self.bad_rows.add(row)


class _Reader:
    """One metric's look at a table.

    Everything that may find a bad row happens here, before any metric of the query takes its samples.
    """

    def __init__(
        self,
        metric: Metric,
        family: Family,
        job: Job,
        table: _Table,
        last: dict[tuple[int, str], tuple[Labels, ...]],
    ) -> None:
        self._metric = metric
        self._last = last
        self._family = family
        self._constant: dict[str, str] = {**job.labels, **dict(metric.static_labels)}
        self._table = table
        self._keys = {label: table.labels(column) for column, label in metric.key_labels}
        self._values = [self._column(column) for column in metric.values]
        self._stamps: list[int | None] | None = None
        if metric.timestamp_value:
            self._stamps = table.stamps(metric.timestamp_value)
        if metric.once:
            for column in metric.once.key:
                for row, text in enumerate(table.texts(column)):
                    if text is None:
                        table.spoil(row, f"column {column}, row {row + 1}: NULL tells no event")
            if not metric.buckets:
                for column, values in zip(metric.values, self._values, strict=True):
                    for row, value in enumerate(values):
                        if value is not None and value < 0:
                            table.spoil(row, f"column {column}, row {row + 1}: a counter cannot go down")

    def _column(self, column: str) -> list[float | None]:
        values = self._table.numbers(column)
        handling = self._metric.on_null
        if handling == "skip" or None not in values:
            return values
        if handling == "error":
            for row, text in enumerate(self._table.texts(column)):
                if text is None:
                    self._table.spoil(row, f"column {column}, row {row + 1}: NULL, and on_null is error")
            return values
        other = 0.0 if handling == "zero" else nan
        return [other if value is None else value for value in values]

    def add_to(self, found: Yield, bad: set[int]) -> None:
        """Add what the metric makes of all rows but the *bad* ones."""
        metric = self._metric
        columns: list[tuple[str, Sequence[float | None]]]
        if metric.static_value is not None:
            columns = [("", [metric.static_value] * self._table.rows)]
        else:
            columns = list(zip(metric.values, self._values, strict=True))
        for _, values in columns:
            if None in values:
                found.nulls += sum(value is None and row not in bad for row, value in enumerate(values))
        if metric.once:
            for name, values in columns:
                found.observations += self._observations(name, values, bad)
            return
        samples: Sequence[Sample]
        samples = self._samples(*columns[0], bad)
        for name, values in columns[1:]:
            samples = [*samples, *self._samples(name, values, bad)]
        if metric.buckets:
            samples = _distributions(self._family, samples)
        if metric.max_series and len(samples) > metric.max_series:
            surplus = samples[metric.max_series :]
            found.surplus.setdefault(self._family, []).extend(surplus)
            samples = samples[: metric.max_series]
        if samples:
            before = found.samples.get(self._family)
            found.samples[self._family] = [*before, *samples] if before else samples

    def _labels(self, name: str) -> tuple[Labels, ...]:
        """The labels of every row, for the value column *name*."""
        constant = dict(self._constant)
        if self._metric.value_label:
            constant[self._metric.value_label] = name
        rows = self._table.rows
        parts: list[Sequence[str | None]] = [
            self._keys[label] if label in self._keys else [constant.get(label)] * rows
            for label in self._family.labels
        ]
        return tuple(zip(*parts, strict=True)) if parts else ((),) * rows

    def _samples(self, name: str, values: Sequence[float | None], bad: set[int]) -> Sequence[Sample]:
        labels = self._labels(name)
        if self._stamps is not None:
            return [
                Sample(labels[row], Stamped(value, stamp))
                for row, (value, stamp) in enumerate(zip(values, self._stamps, strict=True))
                if value is not None and stamp is not None and row not in bad
            ]
        if not bad and None not in values:
            key = (id(self._metric), name)
            columns = _as_before(labels, tuple(values), self._last.get(key, ()))
            self._last[key] = columns.labels
            return columns
        return [
            Sample(labels[row], value)
            for row, value in enumerate(values)
            if value is not None and row not in bad
        ]

    def _observations(self, name: str, values: Sequence[float | None], bad: set[int]) -> list[Observation]:
        """Each row as an event, its labels by name, so that they outlive a change of the file."""
        metric = self._metric
        rows = self._table.rows
        constant = dict(metric.static_labels)
        if metric.value_label:
            constant[metric.value_label] = name
        columns: list[Sequence[str]] = []
        names = sorted(own_labels(metric))
        for label in names:
            columns += [label] * rows, self._keys.get(label) or [constant.get(label, "")] * rows
        keys = [self._table.texts(column) for column in (metric.once.key if metric.once else ())]
        # Where it is no label, a new name of the column makes no new event.
        told_by = name if metric.value_label else ""
        found = []
        for row, value in enumerate(values):
            if value is None or row in bad or not isfinite(value):
                continue
            key = json.dumps([names, sorted(metric.static_labels), told_by, [column[row] for column in keys]])
            labels = tuple(column[row] for column in columns)
            found.append(Observation(self._family, labels, value, key))
        return found


def _as_before(labels: tuple[Labels, ...], values: tuple[Any, ...], last: tuple[Labels, ...]) -> Columns:
    """The samples with the labels *last*, in their order, if they have no others.

    A database has no order of its own, but what is shown is changed most cheaply when only values do; and
    labels that are kept need not be stored anew.
    """
    if labels == last:
        return Columns(last, values)
    if len(labels) == len(last):
        found = dict(zip(labels, values, strict=True))
        with suppress(KeyError):
            if len(found) == len(last):  # not with duplicates, of which the first is shown
                return Columns(last, tuple(map(found.__getitem__, last)))
    return Columns(labels, values)


def _shared(texts: Sequence[str]) -> Sequence[str]:
    """*texts*, equal ones as one object if many are equal: a label of few values then costs no memory."""
    first = texts[:_TRIED]
    if len(set(first)) * 2 > len(first):
        return texts
    known: dict[str, str] = {}
    return [known.setdefault(text, text) for text in texts]


def _distributions(family: Family, samples: Sequence[Sample]) -> list[Sample]:
    """One histogram for each set of labels, of all its samples."""
    counts: dict[Labels, list[int]] = defaultdict(lambda: [0] * (len(family.buckets) + 1))
    sums: dict[Labels, float] = defaultdict(float)
    for labels, value in samples:
        if isinstance(value, float) and isfinite(value):
            counts[labels][bisect_left(family.buckets, value)] += 1
            sums[labels] += value
    return [Sample(labels, Distribution(tuple(found), sums[labels])) for labels, found in counts.items()]
