"""Reads one metric of a collector file."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from collectors.postgres.additions import Additions
from collectors.postgres.overlay import MetricOverlay
from collectors.postgres.reading import Block, shown
from collectors.postgres.spec import Metric, Once, Query

KEYS = (
    *("metric_name", "type", "help", "key_labels", "static_labels", "value_label", "values"),
    *("static_value", "timestamp_value", "query", "query_ref", "no_prepared_statement"),
)
_RESERVED = frozenset(("job", "target"))


def metric_name(name: str) -> str:
    """*name* as it is exposed: every character that Prometheus does not allow becomes ``_``."""
    return re.sub(r"^[^a-zA-Z_:]|[^a-zA-Z0-9_:]", "_", name)


def label_name(name: str) -> str:
    """*name* as a label is exposed."""
    return re.sub(r"^[^a-zA-Z_]|[^a-zA-Z0-9_]", "_", name)


def read_metric(
    block: Block, query: Query | None, reserved: frozenset[str], additions: Additions
) -> Metric | None:
    """The metric in *block* with its *query*; all that is wrong is noted, and ``None`` if it is useless."""
    block.only(KEYS)
    name = block.text("metric_name", required=True)
    extra = additions.metric(name)
    kind = _kind(block)
    help_text = block.text("help", required=True)
    values = block.texts("values")
    static_value = block.number("static_value")
    value_label = block.text("value_label")
    timestamp = block.text("timestamp_value")
    keys, statics = block.texts("key_labels"), block.text_map("static_labels")
    _check_values(block, values, value_label)
    _check_labels(block, keys, statics, value_label, len(values), reserved)
    if extra.buckets and "le" in map(label_name, (*keys, *statics, value_label)):
        block.report(None, "a histogram must not have a label le of its own: rename it")
    problem = _problem(extra, values, static_value, timestamp)
    if problem:
        additions.report(("metrics", name, problem[0]), problem[1])
    if extra.counter is not None:
        kind = "counter" if extra.counter else "gauge"
    elif extra.once_by:
        kind = "counter"
    if extra.unit and not _has_unit(metric_name(name), extra.unit, kind):
        additions.report(("metrics", name, "unit"), f"the metric's name must end in _{extra.unit}")
    if query is None:
        return None
    overlay = additions.overlay
    return Metric(
        name=metric_name(name),
        kind=kind,
        help=help_text,
        query=query,
        key_labels=tuple((column, label_name(column)) for column in keys),
        static_labels=tuple((label_name(label), text) for label, text in statics.items()),
        value_label=label_name(value_label) if value_label else None,
        values=tuple(values),
        static_value=static_value,
        # sql_exporter gives no time to a static value.
        timestamp_value=timestamp if timestamp and values else None,
        unit=extra.unit or "",
        buckets=extra.buckets or (),
        once=Once(extra.once_by) if extra.once_by else None,
        max_series=overlay.max_series if extra.max_series is None else extra.max_series,
        on_null=extra.on_null or overlay.on_null,
        line=block.line(),
    )


def _kind(block: Block) -> Literal["gauge", "counter"]:
    text = block.text("type", required=True)
    if text and text.lower() not in ("gauge", "counter"):
        block.report("type", f"must be gauge or counter (got {shown(text)})")
    return "counter" if text.lower() == "counter" else "gauge"


def _check_values(block: Block, values: list[str], value_label: str) -> None:
    one = block.has("values")
    if one == block.has("static_value"):
        both = "keep one of values and static_value" if one else "one of values and static_value is required"
        block.report("static_value" if one else None, both)
    for value in [value for value, count in Counter(values).items() if count > 1]:
        block.report("values", f"the column {shown(value)} stands twice: keep it once")
    if len(values) > 1 and not value_label:
        block.report("values", "several values need a value_label, the label that tells the columns apart")


def _check_labels(
    block: Block,
    keys: list[str],
    statics: dict[str, str],
    value_label: str,
    values: int,
    reserved: frozenset[str],
) -> None:
    """Each label name once, none that is put on every series, none that Prometheus keeps for itself."""
    taken: dict[str, str] = {}
    # sql_exporter checks the label of one value, and static labels, against nothing: job is legal there.
    for key, names, refused in (
        ("key_labels", keys, _RESERVED | reserved),
        ("static_labels", list(statics), reserved),
        (
            "value_label",
            [value_label] if value_label else [],
            reserved | (_RESERVED if values > 1 else set()),
        ),
    ):
        for name in names:
            label = label_name(name)
            if not name:
                block.report(key, "a label needs a name")
            elif label.startswith("__"):
                block.report(
                    key, f"{shown(name)} begins with __, which Prometheus keeps for itself: rename it"
                )
            elif label in refused:
                ours = "; or set another database_label, or labels of the database" * (label in reserved)
                block.report(
                    key, f"the label {label} is reserved: rename the column or label {shown(name)}{ours}"
                )
            elif label in taken:
                before = taken[label]
                same = (
                    f"the label {label} stands twice"
                    if before == name
                    else (f"{shown(before)} and {shown(name)} are both exposed as {label}")
                )
                block.report(key, f"{same}: rename or remove one of them")
            taken.setdefault(label, name)


def _problem(
    extra: MetricOverlay, values: list[str], static_value: float | None, timestamp: str
) -> tuple[str, str] | None:
    """The key of *extra* that does not fit the metric, and why."""
    if extra.buckets:
        if extra.counter is not None:
            return "counter", "a metric with buckets is a histogram: remove counter or buckets"
        if len(values) != 1:
            return "buckets", "a histogram needs exactly one column in values"
        if timestamp:
            return "buckets", "a histogram has no time of its own: remove timestamp_value or buckets"
    elif extra.once_by:
        if extra.counter is False:
            return "counter", "a metric with once_by is a counter: remove counter or once_by"
        if len(values) > 1:
            return "once_by", "needs exactly one column in values, or a static_value"
        if timestamp and static_value is None:
            return "once_by", "a kept total has no time of its own: remove timestamp_value or once_by"
    return None


def _has_unit(name: str, unit: str, kind: str) -> bool:
    stem = name.removesuffix("_total") if kind == "counter" else name
    return stem.endswith(f"_{unit}")
