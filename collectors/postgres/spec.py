"""What a query file asks for, checked and ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

OnNull = Literal["skip", "zero", "nan", "error"]


@dataclass(frozen=True, slots=True)
class Query:
    """One statement; ``name`` is the one in the file, or that of its metric.

    ``simple`` asks for the simple protocol (``no_prepared_statement``). ``parameters``, when not ``None``,
    are bound on the server where the text says ``%(name)s``; the text then writes a per cent sign twice.
    """

    name: str
    sql: str
    simple: bool = False
    parameters: Mapping[str, str | None] | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Once:
    """Rows that are events: each adds to a persisted total once, told apart by the columns ``key``.

    With ``buckets`` the metric is a histogram of the value column, else a counter that grows by it.
    """

    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a file: how rows of its query become samples.

    Names are as they are exposed. ``key_labels`` are ``(column, label)``. Exactly one of ``values``
    (columns) and ``static_value`` is set. ``value_label`` takes the name of the value column, and is empty
    with a static value. ``timestamp_value`` is the column with the sample's own time. ``buckets`` (upper
    bounds without +Inf) make it a histogram, ``once`` a total that is kept.
    """

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    query: Query
    key_labels: tuple[tuple[str, str], ...] = ()
    static_labels: tuple[tuple[str, str], ...] = ()
    value_label: str | None = None
    values: tuple[str, ...] = ()
    static_value: float | None = None
    timestamp_value: str | None = None
    unit: str = ""
    buckets: tuple[float, ...] = ()
    once: Once | None = None
    max_series: int | None = None
    on_null: OnNull = "skip"
    line: int = 0


@dataclass(frozen=True, slots=True)
class QueryFile:
    """One collector file. Seconds throughout; ``None`` leaves a thing to the collector's own settings.

    ``queries`` are those that metrics use, each once, in the order of their first use. ``schedule`` is a
    cron expression of five fields and excludes ``interval``. ``listen`` is the channel whose notifications
    run the file at once, at most every ``debounce`` seconds.
    """

    name: str
    path: Path
    queries: tuple[Query, ...]
    metrics: tuple[Metric, ...]
    title: str = ""
    description: str = ""
    interval: float | None = None
    schedule: str | None = None
    statement_timeout: float | None = None
    keep_last_for: float | None = None
    listen: str | None = None
    debounce: float = 1.0
    parameters: Mapping[str, str | None] = field(default_factory=dict)
