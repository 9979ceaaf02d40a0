"""Metric families: declared once with their labels, filled by label name."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, NamedTuple

from prometheus_client.metrics_core import Metric

from exporter.errors import LabelMismatch

Kind = Literal["gauge", "counter", "histogram"]
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


class Distribution(NamedTuple):
    """What a histogram has observed: ``counts`` per bucket (not cumulative, +Inf last), and ``sum``."""

    counts: tuple[int, ...]
    sum: float


class Sample(NamedTuple):
    """One labelled value; ``labels`` are the values in the order of the family's label names."""

    labels: tuple[str, ...]
    value: float | Distribution


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric family: its identity is the object, so that two declarations of a name are a clash.

    ``name`` is without ``_total``. ``buckets`` are upper bounds in ascending order without +Inf.
    ``source`` says in the catalogue where the values come from.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()
    source: str = ""

    @property
    def exposed_name(self) -> str:
        """The name as a user of the text format sees it."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

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
        return Metric(self.name, self.help, self.kind, self.unit)


def gauge(name: str, help_: str, labels: Sequence[str] = (), *, unit: str = "", source: str = "") -> Family:
    """Declare a value that can go up and down."""
    return _family(name, "gauge", help_, labels, unit, (), source)


def counter(name: str, help_: str, labels: Sequence[str] = (), *, unit: str = "", source: str = "") -> Family:
    """Declare a value that only grows; *name* ends in ``_total``."""
    if not name.endswith("_total"):
        raise ValueError(f"counter {name} must end in _total")
    return _family(name.removesuffix("_total"), "counter", help_, labels, unit, (), source)


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
    if list(buckets) != sorted(set(buckets)) or not buckets or not all(map(isfinite, buckets)):
        raise ValueError(f"histogram {name}: buckets must ascend and be finite; +Inf is added by itself")
    return _family(name, "histogram", help_, labels, unit, tuple(float(bound) for bound in buckets), source)


def _family(
    name: str,
    kind: Kind,
    help_: str,
    labels: Sequence[str],
    unit: str,
    buckets: tuple[float, ...],
    source: str,
) -> Family:
    """Check the names and build the family."""
    if not _NAME.match(name):
        raise ValueError(f"{name!r} is not a metric name")
    for label in labels:
        if not _NAME.match(label) or label.startswith("__") or label == "le":
            raise ValueError(f"{name}: {label!r} is not a label name")
    if len(set(labels)) != len(labels):
        raise ValueError(f"{name}: a label is named twice")
    if unit and not name.endswith(f"_{unit}"):
        raise ValueError(f"{name} must end in its unit _{unit}")
    return Family(name, kind, clean(help_), tuple(labels), unit, buckets, source)


def clean(text: str) -> str:
    """*text* without lone surrogates: one that cannot be written as UTF-8 would fail everybody's scrape."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


Samples = Mapping[Family, Sequence[Sample]]
"""What one entity exposes: family -> its samples, in the order they are shown."""
