"""From rows to samples, without a database: what is hard to see from outside."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from collectors.postgres.cells import BOOL, FLOAT8, INT4, TIMESTAMPTZ
from collectors.postgres.families import family_of
from collectors.postgres.plan import Job
from collectors.postgres.queryfile import read_query_file
from collectors.postgres.series import MissingColumns, Shaper, Yield
from collectors.postgres.snapshot import Column, Result
from exporter.families import Distribution, Family, Sample, Stamped

TEXT = 25
ONE = {"metric_name": "m", "key_labels": ["k"], "values": ["v"]}
Rows = list[tuple[str | None, ...]]


class Dropped:
    """A page that notes what is left out."""

    def __init__(self) -> None:
        self.series: list[tuple[str, str, int]] = []

    def note_dropped(self, family: Family, reason: str, series: list[Sample]) -> None:
        self.series.append((family.name, reason, len(series)))


class Bench:
    """One query with *metrics*, in a file with *more*."""

    def __init__(self, folder: Path, *metrics: dict[str, Any], **more: Any) -> None:
        path = folder / "f.collector.yml"
        shared = {"type": "gauge", "help": "h", "query_ref": "q"}
        file = {
            "collector_name": "f",
            "metrics": [shared | metric for metric in metrics],
            "queries": [{"query_name": "q", "query": "SELECT"}],
            "ci_exporter": more,
        }
        path.write_text(json.dumps(file))
        self.page: Any = Dropped()
        read = read_query_file(path)
        named = {
            metric.name: [one for one in read.metrics if one.name == metric.name] for metric in read.metrics
        }
        self.families = {name: family_of(found, ("db",)) for name, found in named.items()}
        job = Job("t", read, {"db": "x"}, ("q",))
        self._shaper = Shaper(job, self.families, "UTC", self.page)
        (self._query,) = read.queries

    def shape(self, columns: dict[str, int] | list[Column], rows: Rows) -> Yield:
        listed = [Column(*one) for one in columns.items()] if isinstance(columns, dict) else columns
        return self._shaper.shape(self._query, Result(tuple(listed), rows, 0.1))

    def samples(self, columns: dict[str, int] | list[Column], rows: Rows, name: str = "m") -> list[Sample]:
        found = self.shape(columns, rows)
        assert not found.problems
        return list(found.samples.get(self.families[name], ()))


def test_each_value_column_gives_a_sample_of_each_row(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path, {"metric_name": "m", "key_labels": ["k"], "values": ["r", "w"], "value_label": "op"}
    )
    columns = {"k": TEXT, "r": INT4, "w": FLOAT8}
    assert bench.families["m"].labels == ("db", "k", "op")
    assert bench.samples(columns, [("a", "1", "2.5"), ("b", "3", "4")]) == [
        (("x", "a", "r"), 1), (("x", "b", "r"), 3), (("x", "a", "w"), 2.5), (("x", "b", "w"), 4),
    ]  # fmt: skip
    # A NULL costs its own sample only.
    some = bench.samples(columns, [("a", None, "2.5"), ("b", "3", None)])
    assert sorted(some) == [(("x", "a", "w"), 2.5), (("x", "b", "r"), 3)]


def test_a_metric_leaves_out_the_labels_of_others_of_its_name(tmp_path: Path) -> None:
    one, two = {"key_labels": ["k"], "values": ["v"]}, {"static_labels": {"s": "c"}, "values": ["w"]}
    bench = Bench(tmp_path, {"metric_name": "m", **one}, {"metric_name": "m", **two})
    columns = {"k": BOOL, "v": INT4, "w": INT4}
    assert bench.families["m"].labels == ("db", "k", "s")
    assert bench.samples(columns, [("t", "1", "2")]) == [(("x", "true", None), 1), (("x", None, "c"), 2)]


def test_of_columns_of_one_name_the_last_counts(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"metric_name": "m", "values": ["v"]})
    assert bench.samples([Column("v", TEXT), Column("v", INT4)], [("x", "2")]) == [(("x",), 2)]


def test_without_rows_there_are_no_samples_but_columns_are_checked(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path, {"metric_name": "m", "key_labels": ["k"], "values": ["v"], "timestamp_value": "ts"}
    )
    assert bench.shape({"k": TEXT, "v": INT4, "ts": TIMESTAMPTZ}, []) == Yield(0)
    with pytest.raises(MissingColumns, match=r"lacks the column k, ts; it has V, v "):
        bench.shape({"V": TEXT, "v": INT4}, [])


def test_a_static_value_needs_rows_only(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"metric_name": "m", "static_value": 7, "value_label": "op"})
    assert bench.samples({"other": TEXT}, [(None,), ("b",)]) == [(("x", ""), 7), (("x", ""), 7)]


def test_a_sample_needs_its_value_and_its_time(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path, {"metric_name": "m", "key_labels": ["k"], "values": ["v"], "timestamp_value": "ts"}
    )
    columns = {"k": TEXT, "v": INT4, "ts": TIMESTAMPTZ}
    time = "2024-01-02 03:04:05.678+00"
    rows: Rows = [("a", "1", time), ("b", None, time), ("c", "3", None)]
    assert bench.samples(columns, rows) == [(("x", "a"), Stamped(1, 1704164645678))]
    found = bench.shape(columns, [("a", "1", "infinity"), ("b", "2", time)])
    assert found.problems == ["column ts, row 1: a sample cannot have the time infinity"]
    assert found.samples[bench.families["m"]] == [(("x", "b"), Stamped(2, 1704164645678))]


def test_metrics_of_one_query_may_take_a_null_differently(tmp_path: Path) -> None:
    metrics = [{"metric_name": name, "values": ["v"]} for name in ("skip", "zero", "nan")]
    extra = {name: {"on_null": name} for name in ("skip", "zero", "nan")}
    bench = Bench(tmp_path, *metrics, metrics=extra)
    found = bench.shape({"v": INT4}, [(None,)])
    shown: dict[str, Any] = {family.name: samples[0].value for family, samples in found.samples.items()}
    assert math.isnan(shown.pop("nan"))
    assert shown == {"zero": 0}
    assert not found.problems


def test_a_bad_value_is_no_null(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"metric_name": "m", "values": ["v"]}, on_null="zero")
    found = bench.shape({"v": TEXT}, [("x",), (None,), ("3",)])
    assert found.samples[bench.families["m"]] == [(("x",), 0), (("x",), 3)]
    assert (found.bad_rows, found.rows) == (1, 3)


def test_a_row_that_is_bad_twice_counts_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, {"metric_name": "m", "values": ["v", "w"], "value_label": "op"})
    found = bench.shape({"v": TEXT, "w": TEXT}, [("x", "y"), ("1", "2")])
    assert found.problems == ["column v, row 1: 'x' is not a number"]
    assert found.bad_rows == 1
    assert found.samples[bench.families["m"]] == [(("x", "v"), 1), (("x", "w"), 2)]


def test_a_bound_belongs_to_its_bucket_and_what_is_no_number_to_none(tmp_path: Path) -> None:
    buckets = {"m": {"buckets": [1, 5]}}
    bench = Bench(tmp_path, {"metric_name": "m", "values": ["v"]}, metrics=buckets)
    rows: Rows = [(text,) for text in ("1", "1.5", "5", "6", "-2", "NaN", "Infinity")]
    assert bench.samples({"v": FLOAT8}, rows) == [(("x",), Distribution((2, 2, 1), 11.5))]


@pytest.mark.parametrize(("most", "left"), [(1, 1), (2, 2), (3, 3), (4, 3)])
def test_surplus_series_are_cut_from_the_end(tmp_path: Path, most: int, left: int) -> None:
    bench = Bench(tmp_path, ONE, max_series=most)
    rows: Rows = [("a", "1"), ("b", "2"), ("c", "3")]
    assert [one.labels[1] for one in bench.samples({"k": TEXT, "v": INT4}, rows)] == list("abc"[:left])
    assert bench.page.series == ([("m", "limit", 3 - left)] if left < 3 else [])


def test_surplus_is_cut_of_each_metric_of_one_name(tmp_path: Path) -> None:
    metrics = [
        {"metric_name": "m", "key_labels": ["k"], "values": ["v"], "static_labels": {"s": s}} for s in "pq"
    ]
    bench = Bench(tmp_path, *metrics, max_series=1)
    found = bench.samples({"k": TEXT, "v": INT4}, [("a", "1"), ("b", "2")])
    assert [one.labels for one in found] == [("x", "a", "p"), ("x", "a", "q")]
    assert bench.page.series == [("m", "limit", 2)]


# -- events ----------------------------------------------------------------------------------------


def once(folder: Path, *metrics: dict[str, Any], key: list[str] | None = None) -> Bench:
    names = {metric["metric_name"] for metric in metrics}
    return Bench(folder, *metrics, metrics={name: {"once_by": key or ["id"]} for name in names})


def test_events_carry_their_own_labels_by_name_and_no_others(tmp_path: Path) -> None:
    metric = {
        "metric_name": "m_total",
        "key_labels": ["z", "b"],
        "static_labels": {"s": "c"},
        "values": ["v"],
    }
    bench = once(tmp_path, metric)
    columns = {"id": INT4, "z": TEXT, "b": BOOL, "v": FLOAT8}
    (event,) = bench.shape(columns, [("1", None, "t", "2.5")]).observations
    assert event.family is bench.families["m_total"]
    assert event.labels == ("b", "true", "s", "c", "z", "")
    assert event.value == 2.5


def test_an_event_is_told_by_its_key_and_the_names_of_its_labels(tmp_path: Path) -> None:
    def keys(rows: Rows, **metric: Any) -> list[str]:
        bench = once(tmp_path, {"metric_name": "m_total", "values": ["v"], **metric}, key=["id", "kind"])
        columns = {"id": INT4, "kind": TEXT, "v": FLOAT8, "k": TEXT, "l": TEXT}
        return [event.key for event in bench.shape(columns, rows).observations]

    rows: Rows = [("1", "x", "5", "a", "b"), ("1", "y", "5", "a", "b"), ("2", "x", "5", "a", "b")]
    assert len(set(keys(rows))) == 3
    # What else a row says may change: the event is the same.
    assert keys([("1", "x", "9", "c", "d")], key_labels=["k"]) == keys(rows[:1], key_labels=["k"])
    assert keys(rows, key_labels=["k", "l"]) == keys(rows, key_labels=["l", "k"])
    assert not set(keys(rows)) & set(keys(rows, key_labels=["k"]))
    assert not set(keys(rows, static_labels={"s": "1"})) & set(keys(rows, static_labels={"s": "2"}))
    # Keys that only look alike when joined.
    assert len(set(keys([("1", 'x", "y', "5", "a", "b"), ("1", "x", "5", "a", "b")]))) == 2


def test_what_tells_no_event_is_named_and_what_has_no_amount_is_left_out(tmp_path: Path) -> None:
    bench = once(tmp_path, {"metric_name": "m_total", "values": ["v"]})
    rows: Rows = [(None, "1"), ("2", "-1"), ("3", "NaN"), ("4", "Infinity"), ("5", None), ("6", "0")]
    found = bench.shape({"id": INT4, "v": FLOAT8}, rows)
    assert [event.value for event in found.observations] == [0]
    assert found.problems == [
        "column id, row 1: NULL tells no event",
        "column v, row 2: a counter cannot go down",
    ]
    assert not found.samples


def test_a_histogram_of_events_takes_values_below_zero(tmp_path: Path) -> None:
    extra = {"metrics": {"m": {"once_by": ["id"], "buckets": [0, 1]}}}
    bench = Bench(tmp_path, {"metric_name": "m", "values": ["v"]}, **extra)
    (event,) = bench.shape({"id": INT4, "v": FLOAT8}, [("1", "-3")]).observations
    assert event.value == -3
