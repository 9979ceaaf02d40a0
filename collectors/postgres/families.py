"""The families of the PostgreSQL collector: its own, and those that query files name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Literal

from collectors.postgres.spec import Metric
from exporter.families import Family, foreign, gauge

_QUERY = ("database", "query")
_SOURCE = "query files"

QUERY_SUCCESS = gauge(
    "ci_exporter_query_success",
    "1 if the last run of the query gave all its rows, else 0.",
    _QUERY,
    source=_SOURCE,
)
QUERY_LAST_SUCCESS = gauge(
    "ci_exporter_query_last_success_timestamp_seconds",
    "When the query last gave all its rows.",
    _QUERY,
    unit="seconds",
    source=_SOURCE,
)
QUERY_DURATION = gauge(
    "ci_exporter_query_duration_seconds",
    "How long the last run of the query took, fetching its rows included.",
    _QUERY,
    unit="seconds",
    source=_SOURCE,
)
QUERY_ROWS = gauge(
    "ci_exporter_query_rows",
    "Rows that the last successful run of the query gave.",
    _QUERY,
    source=_SOURCE,
)
OWN: tuple[Family, ...] = (QUERY_SUCCESS, QUERY_LAST_SUCCESS, QUERY_DURATION, QUERY_ROWS)

Kind = Literal["gauge", "counter", "histogram"]


def kind_of(metric: Metric) -> Kind:
    """The type that *metric* is exposed with."""
    return "histogram" if metric.buckets else metric.kind


def own_labels(metric: Metric) -> list[str]:
    """The labels that *metric* itself has."""
    value_label = [metric.value_label] if metric.value_label else []
    return (
        [label for _, label in metric.key_labels] + [name for name, _ in metric.static_labels] + value_label
    )


def family_of(metrics: Sequence[Metric], added: Iterable[str], *, whole: bool = False) -> Family:
    """The one family of *metrics*, which have its name in common; *added* are labels beside their own.

    The first one's help and unit stand for all. *whole* keeps the ``_total`` of a counter in the name of its
    family, since the name without it is another one's; OpenMetrics then knows neither type nor unit.
    """
    labels = dict.fromkeys(label for metric in metrics for label in own_labels(metric))
    first = metrics[0]
    return _interned(
        first.name,
        kind_of(first),
        first.help,
        tuple(dict.fromkeys([*added, *labels])),
        first.buckets,
        "" if whole else next((metric.unit for metric in metrics if metric.unit), ""),
        any(metric.timestamp_value for metric in metrics),
        whole,
    )


@cache
def _interned(
    name: str,
    kind: Kind,
    help_: str,
    labels: tuple[str, ...],
    buckets: tuple[float, ...],
    unit: str,
    stamped: bool,
    whole: bool,
) -> Family:
    """The same object for the same facts: after a reload, what is shown of an unchanged metric stays."""
    family = foreign(name, kind, help_, labels, buckets=buckets, unit=unit, stamped=stamped, source=_SOURCE)
    return replace(family, name=name, bare=True) if whole else family
