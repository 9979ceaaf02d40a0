"""Metric families: declared once with their labels, filled by label name."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal, NamedTuple, overload

from prometheus_client.metrics_core import Metric

from exporter.errors import LabelMismatch

Kind = Literal["gauge", "counter", "histogram"]
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")
_FOREIGN_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\Z")
Labels = tuple[str | None, ...]


class Distribution(NamedTuple):
    """What a histogram has observed: ``counts`` per bucket (not cumulative, +Inf last), and ``sum``."""

    counts: tuple[int, ...]
    sum: float


class Stamped(NamedTuple):
    """A value with a time of its own, in milliseconds since 1970."""

    value: float
    milliseconds: int


class Sample(NamedTuple):
    """One labelled value; ``labels`` are the values in the order of the family's label names.

    ``None`` leaves a label out, which only families that are ``sparse`` allow.
    """

    labels: Labels
    value: float | Distribution | Stamped


class Columns(Sequence[Sample]):
    """Many samples of one family by columns, as a query brings them: none costs an object of its own."""

    __slots__ = ("labels", "values")

    def __init__(self, labels: tuple[Labels, ...], values: tuple[Any, ...]) -> None:
        """*labels* and *values* are equally many."""
        self.labels = labels
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Sample]:
        return map(Sample, self.labels, self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return list(map(Sample, self.labels[index], self.values[index]))
        return Sample(self.labels[index], self.values[index])


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric family: its identity is the object, so that two declarations of a name are a clash.

    ``name`` is without ``_total``. ``buckets`` are upper bounds in ascending order without +Inf.
    ``source`` says in the catalogue where the values come from.

    The rest is for families that somebody else named: ``bare`` is a counter without ``_total``, samples of
    a ``sparse`` one may leave labels out, and those of a ``stamped`` one may be :class:`Stamped`.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()
    source: str = ""
    bare: bool = False
    sparse: bool = False
    stamped: bool = False

    @property
    def exposed_name(self) -> str:
        """The name as a user of the text format sees it."""
        return f"{self.name}_total" if self.kind == "counter" and not self.bare else self.name

    @property
    def openmetrics_kind(self) -> str:
        """The type in OpenMetrics, which knows no counter without ``_total``."""
        return "unknown" if self.bare else self.kind

    def sample(self, value: float | Distribution, **labels: str) -> Sample:
        """A sample of this family, its labels given by name.

        Raises:
            LabelMismatch: a label is missing or surplus, or its value is no string.
        """
        return Sample(self.key(**labels), value)

    def key(self, **labels: str) -> tuple[str, ...]:
        """The label values in declared order; raises `LabelMismatch` as :meth:`sample` does."""
        if labels.keys() != set(self.labels):
            raise LabelMismatch(f"{self.name} takes the labels {self.labels}, got {tuple(labels)}")
        values = tuple(labels[name] for name in self.labels)
        if not all(isinstance(value, str) for value in values):
            raise LabelMismatch(f"{self.name}: every label value must be a string, got {values!r}")
        return values

    def distribution(self, buckets: Mapping[float, int], total: float) -> Distribution:
        """A histogram's value from observations by upper bound, not cumulative.

        A bound that this family no longer has (an earlier version had it) counts towards the next higher
        one, so that no cumulative bucket ever claims more than was observed below it.
        """
        counts = [0] * (len(self.buckets) + 1)
        for bound, observations in buckets.items():
            counts[bisect_left(self.buckets, bound)] += observations
        return Distribution(tuple(counts), total)

    def metric(self) -> Metric:
        """An empty prometheus_client metric with this family's name, type and help."""
        return Metric(self.name, self.help, self.openmetrics_kind, self.unit)


def gauge(name: str, help_: str, labels: Sequence[str] = (), *, unit: str = "", source: str = "") -> Family:
    """Declare a value that can go up and down."""
    return _family(_own(name), "gauge", help_, labels, unit, (), source)


def counter(name: str, help_: str, labels: Sequence[str] = (), *, unit: str = "", source: str = "") -> Family:
    """Declare a value that only grows; *name* ends in ``_total``."""
    if not name.endswith("_total"):
        raise ValueError(f"counter {name} must end in _total")
    return _family(_own(name).removesuffix("_total"), "counter", help_, labels, unit, (), source)


def histogram(
    name: str,
    help_: str,
    labels: Sequence[str] = (),
    *,
    buckets: Sequence[float],
    unit: str = "",
    source: str = "",
) -> Family:
    """Declare a distribution with the given upper bounds (+Inf is added)."""
    return _family(_own(name), "histogram", help_, labels, unit, buckets, source)


def _own(name: str) -> str:
    """*name* if it may be one of ours: colons are for recording rules."""
    if not _NAME.match(name):
        raise ValueError(f"{name!r} is not a metric name")
    return name


def foreign(
    name: str,
    kind: Kind,
    help_: str,
    labels: Sequence[str] = (),
    *,
    buckets: Sequence[float] = (),
    unit: str = "",
    stamped: bool = False,
    source: str = "",
) -> Family:
    """Declare a family that a user named, in a query file say: its name and labels are shown as they are.

    Samples may leave labels out, and a counter need not end in ``_total``.
    """
    if not _FOREIGN_NAME.match(name):
        raise ValueError(f"{name!r} is not a metric name")
    if stamped and kind == "histogram":
        raise ValueError(f"histogram {name}: only single values can have a time of their own")
    bare = kind == "counter" and not name.endswith("_total")
    plain = name.removesuffix("_total") if kind == "counter" else name
    family = _family(plain, kind, help_, labels, unit, buckets, source)
    return replace(family, bare=bare, sparse=True, stamped=stamped)


def _family(
    name: str,
    kind: Kind,
    help_: str,
    labels: Sequence[str],
    unit: str,
    buckets: Sequence[float],
    source: str,
) -> Family:
    """Check the labels, the unit and the buckets, and build the family."""
    ascending = list(buckets) == sorted(set(buckets)) and all(map(isfinite, buckets))
    if kind == "histogram" and not (buckets and ascending):
        raise ValueError(f"histogram {name}: buckets must ascend and be finite; +Inf is added by itself")
    for label in labels:
        of_buckets = label == "le" and kind == "histogram"
        if not _NAME.match(label) or label.startswith("__") or of_buckets:
            raise ValueError(f"{name}: {label!r} is not a label name")
    if len(set(labels)) != len(labels):
        raise ValueError(f"{name}: a label is named twice")
    if unit and not name.endswith(f"_{unit}"):
        raise ValueError(f"{name} must end in its unit _{unit}")
    bounds = tuple(float(bound) for bound in buckets)
    return Family(name, kind, clean(help_), tuple(labels), unit, bounds, source)


def clean(text: str) -> str:
    """*text* without lone surrogates: one that cannot be written as UTF-8 would fail everybody's scrape."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


Samples = Mapping[Family, Sequence[Sample]]
"""What one entity exposes: family -> its samples, in the order they are shown."""
